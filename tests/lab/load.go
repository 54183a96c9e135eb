package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"anymx/tests/kit"
)

// Load is a set of clients that send without a pause.
type Load struct {
	// Sessions is the number of concurrent senders, split evenly between the clients. They
	// alternate between IPv4 and IPv6, and between ports 25 and 8025.
	Sessions int
	// Each is the number of messages per connection.
	Each int
	// Pause is the time between two messages of a session.
	Pause time.Duration
	// Recipient is the mailbox that they send to, at example.net.
	Recipient string
}

// Opened is a connection that a node greeted.
type Opened struct {
	At     time.Time // when it was dialed
	Host   string    // from the banner
	Client string    // "a" or "b"
	IPv6   bool
}

// Ledger is the record of the clients.
type Ledger struct {
	First        int                // number of the first message
	Acknowledged map[Attempt]string // by which node, as named in its banner
	Opened       []Opened
	// Repeated counts transactions that had to be repeated because the connection was lost before
	// the reply to the message. SentAway counts those that the node answered with 421. Refused
	// counts connections that failed before EHLO.
	Repeated, SentAway, Refused int
	// Gap is the longest time that any session went without an acknowledgement. MeanGap is the mean
	// of each session's longest gap.
	Gap, MeanGap time.Duration
	Took         time.Duration
}

// Running is a load in progress.
type Running struct {
	stop    context.CancelFunc
	done    sync.WaitGroup
	began   time.Time
	acked   atomic.Int64
	numbers *atomic.Int64 // of the lab, so that two loads may share a mailbox

	mu     sync.Mutex
	ledger Ledger
	gaps   []time.Duration
	err    error
}

// Send starts a load, which runs until Stop.
func (l *Lab) Send(ctx context.Context, o Load) *Running {
	ctx, cancel := context.WithCancel(ctx)
	r := &Running{stop: cancel, began: time.Now(), numbers: &l.numbers, ledger: Ledger{First: int(l.numbers.Load()) + 1, Acknowledged: make(map[Attempt]string)}}
	for i := range o.Sessions {
		s := &sender{load: o, running: r, space: l.ClientA, client: "a", address: Service4, port: "25"}
		if i%2 == 1 && l.ClientB != nil {
			s.space, s.client = l.ClientB, "b"
		}
		if i/2%2 == 1 {
			s.address, s.ipv6 = Service6, true
		}
		if i/4%2 == 1 {
			s.port = "8025"
		}
		r.done.Go(func() {
			if err := s.run(ctx); err != nil {
				r.mu.Lock()
				r.err = errors.Join(r.err, err)
				r.mu.Unlock()
			}
		})
	}
	return r
}

// Acknowledged returns how many messages were acknowledged so far.
func (r *Running) Acknowledged() int64 { return r.acked.Load() }

// AwaitMore waits until n more messages are acknowledged.
func (r *Running) AwaitMore(ctx context.Context, n int64, limit time.Duration) error {
	want := r.acked.Load() + n
	return kit.Poll(ctx, limit, func(context.Context) error {
		if have := r.acked.Load(); have < want {
			return fmt.Errorf("%d messages of %d were acknowledged", have-want+n, n)
		}
		return nil
	})
}

// Stop lets the sessions finish their transactions and returns their record. A reply that a healthy
// node never gives is an error.
func (r *Running) Stop() (Ledger, error) {
	r.stop()
	r.done.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.Took = time.Since(r.began)
	var sum time.Duration
	for _, gap := range r.gaps {
		sum += gap
		r.ledger.Gap = max(r.ledger.Gap, gap)
	}
	r.ledger.MeanGap = sum / time.Duration(max(1, len(r.gaps)))
	return r.ledger, r.err
}

// sender is the client of one session. It sends messages one by one, each until it is acknowledged,
// and reconnects when a connection is lost.
type sender struct {
	load          Load
	running       *Running
	space         *Namespace
	client        string
	address, port string
	ipv6          bool

	next Attempt
	last time.Time     // of an acknowledgement
	gap  time.Duration // the longest
}

// patience limits each wait for the network. Waiting minutes, as real clients do, would only hide
// problems.
const patience = 10 * time.Second

// run sends until ctx ends and the current message is acknowledged.
func (s *sender) run(ctx context.Context) error {
	s.last = time.Now()
	s.advance()
	defer func() {
		s.running.mu.Lock()
		s.running.gaps = append(s.running.gaps, max(s.gap, time.Since(s.last)))
		s.running.mu.Unlock()
	}()
	for ctx.Err() == nil {
		err := s.session(ctx)
		var wrong *wrongReply
		if errors.As(err, &wrong) {
			return err
		}
		if err != nil {
			pause(ctx, 20*time.Millisecond)
		}
	}
	return nil
}

// advance moves on to the next message.
func (s *sender) advance() { s.next = Attempt{Message: int(s.running.numbers.Add(1)), Number: 1} }

// session runs one connection.
func (s *sender) session(ctx context.Context) error {
	began := time.Now()
	c, host, err := s.space.connect(ctx, net.JoinHostPort(s.address, s.port), patience)
	if err != nil {
		if ctx.Err() == nil {
			s.running.mu.Lock()
			s.running.ledger.Refused++
			s.running.mu.Unlock()
		}
		return err
	}
	defer c.Close()
	s.running.mu.Lock()
	s.running.ledger.Opened = append(s.running.ledger.Opened, Opened{At: began, Host: host, Client: s.client, IPv6: s.ipv6})
	s.running.mu.Unlock()
	for range s.load.Each {
		if ctx.Err() != nil {
			break
		}
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		if err := s.message(c); err != nil {
			s.again(err)
			return err
		}
		s.acknowledged(host)
		pause(ctx, s.load.Pause)
	}
	_, err = c.say("221", "QUIT\r\n")
	return err
}

// again counts a transaction that has to be repeated.
func (s *sender) again(err error) {
	s.next.Number++
	s.running.mu.Lock()
	defer s.running.mu.Unlock()
	if errors.Is(err, errLeaving) {
		s.running.ledger.SentAway++
	} else {
		s.running.ledger.Repeated++
	}
}

// message runs one transaction.
func (s *sender) message(c *smtpConn) error {
	envelope := fmt.Sprintf("MAIL FROM:<sender@example.com>\r\nRCPT TO:<%s@example.net>\r\nDATA\r\n", s.load.Recipient)
	if _, err := io.WriteString(c, envelope); err != nil {
		return err
	}
	for _, code := range []string{"250", "250", "354"} {
		if _, err := c.expect(code); err != nil {
			return err
		}
	}
	_, err := c.say("250", string(s.next.content(2000+s.next.Message%7*1000))+".\r\n")
	return err
}

func (s *sender) acknowledged(host string) {
	now := time.Now()
	s.gap, s.last = max(s.gap, now.Sub(s.last)), now
	s.running.mu.Lock()
	s.running.ledger.Acknowledged[s.next] = host
	s.running.mu.Unlock()
	s.running.acked.Add(1)
	s.advance()
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Account compares a ledger with core's mailbox.
type Account struct {
	Acknowledged int
	Lost         []Attempt // acknowledged, but missing in core
	Doubled      []Attempt // acknowledged, and stored in core more than once
	// Unheard counts attempts that core has although their client never got a reply: it sent these
	// messages again, as SMTP requires.
	Unheard int
}

// AwaitDelivery waits up to limit until core has every acknowledged message, and reports what core
// has.
func (l *Lab) AwaitDelivery(ctx context.Context, ledger Ledger, recipient string, limit time.Duration) (Account, error) {
	var account Account
	err := kit.Poll(ctx, limit, func(context.Context) error {
		inCore, err := ReadMailbox(l.Core.Mailbox(recipient))
		if err != nil {
			return err
		}
		if account = ledger.against(inCore); len(account.Lost) > 0 {
			return fmt.Errorf("%d of %d acknowledged messages are not in core, message %d for one",
				len(account.Lost), account.Acknowledged, account.Lost[0].Message)
		}
		return nil
	})
	return account, err
}

// against compares what was acknowledged with what core has.
func (k Ledger) against(inCore map[Attempt]int) Account {
	a := Account{Acknowledged: len(k.Acknowledged)}
	for attempt := range k.Acknowledged {
		switch n := inCore[attempt]; {
		case n == 0:
			a.Lost = append(a.Lost, attempt)
		case n > 1:
			a.Doubled = append(a.Doubled, attempt)
		}
	}
	for attempt := range inCore {
		if _, heard := k.Acknowledged[attempt]; !heard && attempt.Message >= k.First {
			a.Unheard++
		}
	}
	for _, list := range [][]Attempt{a.Lost, a.Doubled} {
		slices.SortFunc(list, func(x, y Attempt) int { return x.Message - y.Message })
	}
	return a
}
