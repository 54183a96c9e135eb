package bgp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// handshakeTime is how long a peer has for its OPEN, and again for the
// KEEPALIVE behind it.
const handshakeTime = 30 * time.Second

// session keeps up with one peer: it dials, tells what is to be told, and dials
// again, until it is stopped. Its own goroutine runs it; the others only change
// what is wanted, and look.
type session struct {
	asn      uint32
	routerID netip.Addr
	peer     Peer // but for its Export, which may change
	log      *slog.Logger
	changed  func() // the status is another one
	traffic  traffic

	stop context.CancelCauseFunc // with the *Notification to end with
	done chan struct{}           // the goroutine has ended
	poke chan struct{}           // one slot: what is wanted may have changed

	mu     sync.Mutex
	export Export
	routes []Route  // shared by all sessions, never written to
	asked  uint64   // counts changes of export and routes
	again  []Family // the peer wants to be told these once more

	state       State
	since       time.Time
	lastError   error
	lastAt      time.Time
	lastNotice  *Notification
	lastNoticed time.Time

	// Of the session that is Established.
	link  *link
	terms terms
	known table  // what the peer has been told
	told  uint64 // what asked was then
	mark  uint64 // how many octets that took, from the session's beginning
}

// setExport changes what the peer is told beyond the routes.
func (s *session) setExport(e Export) { s.want(func() { s.export = e }) }

// setRoutes changes what is announced.
func (s *session) setRoutes(routes []Route) { s.want(func() { s.routes = routes }) }

func (s *session) want(change func()) {
	s.mu.Lock()
	change()
	s.asked++
	s.mu.Unlock()
	s.wake()
}

func (s *session) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// run is the life of the session. It begins when the session that it takes the
// place of is over: a router refuses a second connection.
func (s *session) run(ctx context.Context, predecessor <-chan struct{}) {
	defer close(s.done)
	if predecessor != nil {
		<-predecessor // was stopped, and takes a few times grace at most
	}
	for ctx.Err() == nil {
		err := s.attempt(ctx)
		s.rest(err, ctx.Err() != nil)
		select {
		case <-ctx.Done():
		case <-time.After(s.pause()):
		}
	}
}

// pause is how long to wait before the next attempt: some of it is chance, so
// that two speakers don't stay in step (RFC 4271 10).
func (s *session) pause() time.Duration {
	longest := s.peer.ConnectRetry
	return longest - rand.N(longest/4+1)
}

// attempt dials once and keeps the session up for as long as it lasts. It
// returns why that ended.
func (s *session) attempt(ctx context.Context) error {
	s.enter(Connect)
	s.traffic.dials.Add(1)
	conn, err := dial(ctx, s.asn, s.peer)
	if err != nil {
		return err
	}
	l := newLink(conn, &s.traffic)
	interrupted := make(chan struct{})
	release := context.AfterFunc(ctx, func() { l.interrupt(); close(interrupted) })
	err = s.converse(ctx, l)
	if !release() {
		<-interrupted
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx) // that is what any other error comes from
	}
	l.close(err)
	return err
}

// converse speaks over a fresh connection until one side has had enough.
func (s *session) converse(ctx context.Context, l *link) error {
	t, err := s.introduce(l)
	if err != nil {
		return err
	}
	if err := l.patience(t.hold); err != nil {
		return fmt.Errorf("TCP user timeout: %w", err)
	}
	s.establish(l, t)

	heard := make(chan error, 1)
	go func() { heard <- s.hear(l, t.hold) }()
	err, over := s.tell(ctx, l, t, heard)
	if !over {
		l.interrupt()
		<-heard
	}
	return err
}

// introduce exchanges OPEN and KEEPALIVE.
func (s *session) introduce(l *link) (terms, error) {
	message, err := openMessage(s.asn, s.routerID, s.peer)
	if err != nil {
		return terms{}, err
	}
	s.enter(OpenSent)
	if err := l.write(handshakeTime, message); err != nil {
		return terms{}, err
	}
	body, err := expect(l, OpenSent, packet.BGP_MSG_OPEN)
	if err != nil {
		return terms{}, err
	}
	o, fault := parseOpen(body)
	if fault != nil {
		return terms{}, fault
	}
	t, fault := agree(s.asn, s.routerID, s.peer, o)
	if fault != nil {
		return terms{}, fault
	}
	s.enter(OpenConfirm)
	if err := l.write(t.hold, keepalive); err != nil {
		return terms{}, err
	}
	_, err = expect(l, OpenConfirm, packet.BGP_MSG_KEEPALIVE)
	return t, err
}

// expect reads the one message that may come in a state. A NOTIFICATION may
// come in any.
func expect(l *link, state State, wanted byte) ([]byte, error) {
	kind, body, err := l.read(handshakeTime)
	switch {
	case err != nil:
		return nil, err
	case kind == packet.BGP_MSG_NOTIFICATION:
		return nil, parseNotification(body)
	case kind != wanted:
		return nil, unexpected(state)
	}
	return body, nil
}

// hear reads until the session is over, and returns why it is.
func (s *session) hear(l *link, hold time.Duration) error {
	for {
		kind, body, err := l.read(hold)
		if err != nil {
			return err
		}
		switch kind {
		case packet.BGP_MSG_NOTIFICATION:
			return parseNotification(body)
		case packet.BGP_MSG_OPEN:
			return unexpected(Established)
		case packet.BGP_MSG_ROUTE_REFRESH:
			s.repeat(parseRefresh(body))
		}
		// A KEEPALIVE has done its work by being there. So has an UPDATE, and
		// what it says does not matter.
	}
}

// repeat notes that the peer wants to be told a family again (RFC 2918).
func (s *session) repeat(f Family) {
	s.mu.Lock()
	if slices.Contains(s.terms.families, f) && !slices.Contains(s.again, f) {
		s.again = append(s.again, f)
	}
	s.mu.Unlock()
	s.wake()
}

// tell writes what is to be told, and keepalives in between. It returns why it
// stopped, and whether hear has ended.
func (s *session) tell(ctx context.Context, l *link, t terms, heard <-chan error) (_ error, over bool) {
	alive := time.NewTicker(t.hold / 3) // RFC 4271 10
	defer alive.Stop()
	for {
		if err := s.update(l, t); err != nil {
			return err, false
		}
		select {
		case <-ctx.Done():
			return ctx.Err(), false
		case err := <-heard:
			return err, true
		case <-s.poke:
		case <-alive.C:
			if err := l.write(t.hold, keepalive); err != nil {
				return err, false
			}
		}
	}
}

// update brings the peer from what it knows to what it should know.
func (s *session) update(l *link, t terms) error {
	s.mu.Lock()
	peer := s.peer
	peer.Export = s.export
	want := paths(s.asn, peer, l.local(), t.families, s.routes)
	plan := planPaths(s.known, want, s.again)
	asked := s.asked
	settled := asked == s.told
	s.again = nil
	s.mu.Unlock()
	if settled && plan.empty() {
		return nil
	}
	messages, err := updates(plan, t.wide)
	if err != nil {
		return err
	}
	if err := l.write(t.hold, messages...); err != nil {
		return err
	}
	s.traffic.announced.Add(uint64(len(plan.announce)))
	s.traffic.withdrawn.Add(uint64(len(plan.withdraw)))

	s.mu.Lock()
	s.known, s.told, s.mark = want, asked, l.written.Load()
	s.mu.Unlock()
	if !plan.empty() {
		s.log.Debug("peer updated", "announced", len(plan.announce), "withdrawn", len(plan.withdraw), "messages", len(messages))
	}
	s.changed()
	return nil
}

func (s *session) enter(state State) {
	s.mu.Lock()
	s.state, s.since = state, time.Now()
	s.mu.Unlock()
	s.changed()
}

// establish is the beginning of a session: the peer knows nothing yet.
func (s *session) establish(l *link, t terms) {
	s.traffic.sessions.Add(1)
	s.mu.Lock()
	s.state, s.since = Established, time.Now()
	s.link, s.terms = l, t
	s.told = s.asked - 1 // something is owed, be it nothing
	s.mu.Unlock()
	s.changed()
	s.log.Info("session up", "local", l.local(), "router_id", t.routerID, "hold_time", t.hold, "families", t.families)
}

// rest is the end of an attempt: whatever the peer knew is forgotten. It notes
// why the attempt is over.
func (s *session) rest(why error, stopped bool) {
	s.mu.Lock()
	was, before := s.state, s.lastError
	s.state, s.since = Idle, time.Now()
	s.link, s.terms, s.known, s.again = nil, terms{}, nil, nil
	s.lastError, s.lastAt = why, s.since
	var n *Notification
	if errors.As(why, &n) {
		s.lastNotice, s.lastNoticed = n, s.since
	}
	s.mu.Unlock()
	s.changed()
	switch {
	case stopped:
		s.log.Info("session closed", "state", was, "reason", why)
	case was == Established:
		s.log.Warn("session down", "error", why)
	case before == nil || before.Error() != why.Error():
		s.log.Warn("no session", "error", why)
	default: // the same again, every few seconds
		s.log.Debug("no session", "error", why)
	}
}

// status is the session at this moment.
func (s *session) status(now time.Time) PeerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := PeerStatus{
		Address:            s.peer.Address,
		ASN:                s.peer.ASN,
		State:              s.state,
		Since:              s.since,
		LastError:          s.lastError,
		LastErrorAt:        s.lastAt,
		LastNotification:   s.lastNotice,
		LastNotificationAt: s.lastNoticed,
		Counters:           s.traffic.counters(),
	}
	if s.state == Established {
		p.Uptime = now.Sub(s.since)
		p.LocalAddress = s.link.local()
		p.RouterID = s.terms.routerID
		p.HoldTime = s.terms.hold
		p.Families = slices.Clone(s.terms.families)
		p.Sent = s.known.sorted()
		p.Confirmed = s.confirmed()
	}
	return p
}

// confirmed says whether the peer has been told everything and has got it. The
// caller holds mu.
func (s *session) confirmed() bool { return s.told == s.asked && s.link.acked(s.mark) }

// behind says whether the session is up and the peer not yet confirmed.
func (s *session) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == Established && !s.confirmed()
}

// keepalive is the one message that never differs (RFC 4271 4.4).
var keepalive = append(bytes.Repeat([]byte{0xff}, 16), 0, headerSize, packet.BGP_MSG_KEEPALIVE)
