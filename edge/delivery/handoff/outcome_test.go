package handoff

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

// chain is spool, queue and hand-off, as a node has them.
type chain struct {
	t       *testing.T
	spool   *spool.Spool
	handoff *Handoff
	queue   *queue.Queue
	stop    func()
}

// startChain runs a chain in the bubble of its test.
func startChain(t *testing.T, core *smtptest.Server) *chain {
	t.Helper()
	s, err := spool.Open(spool.Options{
		Dir: "spool", FS: vfs.NewMem(), Memory: 1 << 20, IDs: mail.NewIDs(7),
		DiskFree: func(string) (int64, error) { return 1 << 40, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	h := newHandoff(t, Options{Addresses: []string{"core:25"}, LMTP: core.LMTP, Dial: core.Dial})
	q, err := queue.New(queue.Options{Spool: s, Courier: h, Hostname: func() string { return "mx.example.net" }, Rand: func() float64 { return 0.5 }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	return &chain{t, s, h, q, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		h.Close()
		core.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}}
}

// left is how many messages the queue has.
func (c *chain) left() int {
	stats := c.queue.Stats()
	return stats.Legs()
}

// accept stores a message and queues it.
func (c *chain) accept(rcpts int) {
	c.t.Helper()
	d, err := c.spool.BeginDraft()
	if err == nil {
		_, err = io.WriteString(d, text)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	env := &mail.Envelope{Arrived: time.Now(), Sender: mail.Path{Local: "a", Domain: "example.org"}}
	for i := range rcpts {
		env.Recipients = append(env.Recipients, mail.Recipient{Path: mail.Path{Local: fmt.Sprintf("r%d", i), Domain: "example.net"}})
	}
	m, err := d.Commit(env)
	if err != nil {
		c.t.Fatal(err)
	}
	c.queue.Accepted(m)
}

// copies counts what core has for each recipient, and which of them a
// notification to the sender names.
func copies(core *smtptest.Server, rcpts int) (have []int, bounced []bool, notices int) {
	have, bounced = make([]int, rcpts), make([]bool, rcpts)
	for _, m := range core.Messages() {
		if slices.ContainsFunc(m.To, func(to string) bool { return strings.Contains(to, "a@example.org") }) {
			notices++
			for i := range bounced {
				bounced[i] = bounced[i] || strings.Contains(string(m.Body), fmt.Sprintf("Final-Recipient: rfc822; r%d@example.net", i))
			}
			continue
		}
		for i := range have {
			if slices.ContainsFunc(m.To, func(to string) bool { return strings.Contains(to, fmt.Sprintf("<r%d@", i)) }) {
				have[i]++
			}
		}
	}
	return have, bounced, notices
}

// TestFaultyReplies holds each row of smtptest's table at the far side: how
// often core has the message for each recipient, and who bounced.
func TestFaultyReplies(t *testing.T) {
	scripts, err := smtptest.Scripts()
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		t.Run(script.Name, func(t *testing.T) {
			kit.Bubble(t, func(t *testing.T) { outcome(t, &script) })
		})
	}
}

func outcome(t *testing.T, script *smtptest.Script) {
	core := &smtptest.Server{LMTP: script.LMTP, Extensions: script.Extensions(), Script: script}
	c := startChain(t, core)
	defer c.stop()
	c.accept(len(script.Has))
	time.Sleep(time.Hour)
	synctest.Wait()
	if n := c.left(); n != 0 {
		t.Errorf("%d messages are left", n)
	}
	have, bounced, notices := copies(core, len(script.Has))
	for i, end := range script.Outcome {
		want := 0
		if script.Has[i] {
			want++
		}
		if end == 'a' {
			want++ // attempted again, and delivered then
		}
		if have[i] != want || bounced[i] != (end == 'b') {
			t.Errorf("recipient %d: %d copies, want %d; bounced %v, want %v", i, have[i], want, bounced[i], end == 'b')
		}
	}
	if want := min(script.Bounces(), 1); notices != want {
		t.Errorf("%d notifications, want %d", notices, want)
	}
}

// TestFinalReplyTakesLong waits ten minutes for the reply to a whole message
// (RFC 5321 section 4.5.3.2.6), and no longer.
func TestFinalReplyTakesLong(t *testing.T) {
	for _, way := range []struct {
		name       string
		lmtp       bool
		extensions []string
	}{
		{"smtp bdat", false, smtptest.All()},
		{"smtp data", false, []string{"PIPELINING"}},
		{"lmtp", true, smtptest.All()},
	} {
		for _, test := range []struct {
			verb   string
			wait   time.Duration
			copies int
		}{
			{"END", 9*time.Minute + 50*time.Second, 1},
			{"END", 10*time.Minute + 10*time.Second, 2}, // core has it, and nobody can know
			{"MAIL", 4*time.Minute + 50*time.Second, 1},
			{"RCPT", 4*time.Minute + 50*time.Second, 1},
			{"CONNECT", 50 * time.Second, 1},
		} {
			t.Run(fmt.Sprintf("%s %s %v", way.name, test.verb, test.wait), func(t *testing.T) {
				kit.Bubble(t, func(t *testing.T) {
					core := &smtptest.Server{LMTP: way.lmtp, Extensions: way.extensions}
					var slow atomic.Bool
					core.Hook = func(step smtptest.Step) smtptest.Action {
						if step.Verb == test.verb && !slow.Swap(true) {
							time.Sleep(test.wait)
						}
						return smtptest.Action{}
					}
					c := startChain(t, core)
					defer c.stop()
					c.accept(1)
					time.Sleep(time.Hour)
					synctest.Wait()
					have, bounced, _ := copies(core, 1)
					if have[0] != test.copies || bounced[0] || c.left() != 0 {
						t.Errorf("core has %d copies, want %d; bounced %v, %d left", have[0], test.copies, bounced[0], c.left())
					}
				})
			})
		}
	}
}

// TestResetRefused: core refuses RSET, holds the recipients of the message before,
// and would add those of the next. Each message reaches its own recipient once.
func TestResetRefused(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		core := full()
		var refused, resets atomic.Int32
		core.Hook = func(step smtptest.Step) smtptest.Action {
			switch {
			case step.Verb == "END" && refused.Add(1) == 1:
				return smtptest.Action{Reply: "452 4.3.1 disk full"}
			case step.Verb == "RSET":
				resets.Add(1)
				return smtptest.Action{Reply: "500 5.5.1 what?"}
			}
			return smtptest.Action{}
		}
		c := startChain(t, core)
		defer c.stop()
		c.accept(1)
		synctest.Wait()
		c.accept(1)
		time.Sleep(time.Hour)
		synctest.Wait()
		messages := core.Messages()
		if len(messages) != 2 || c.left() != 0 || resets.Load() == 0 {
			t.Fatalf("core has %d messages, want 2; %d left, %d resets", len(messages), c.left(), resets.Load())
		}
		for _, m := range messages {
			if len(m.To) != 1 || m.Conn == 0 {
				t.Errorf("a message for %v over connection %d", m.To, m.Conn)
			}
		}
	})
}
