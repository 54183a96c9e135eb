package smtpd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"anymx/edge/ingress/wire"
	"anymx/tests/kit"
)

// talker is a client that has a deadline.
type talker struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func (s *stage) talk(text string, replies int) *talker {
	t := s.t
	t.Helper()
	conn, err := net.Dial("tcp", s.front.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := &talker{t, conn, bufio.NewReader(conn)}
	c.say(text, replies)
	return c
}

// say sends text and returns the last line of what is answered.
func (c *talker) say(text string, replies int) (line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
	for replies > 0 {
		var err error
		if line, err = c.r.ReadString('\n'); err != nil {
			c.t.Fatal(err)
		}
		if line[3] == ' ' {
			replies--
		}
	}
	return line
}

// gone holds that the client is told line, and then that the other side closes.
func (c *talker) gone(line string) {
	c.t.Helper()
	if got := c.say("", 1); !strings.HasPrefix(got, line) {
		c.t.Errorf("told %q, not %q", got, line)
	}
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Errorf("then %q, %v", rest, err)
	}
	_ = c.conn.Close()
}

// drained waits until new clients are told to go.
func (s *stage) drained() {
	s.t.Helper()
	kit.Eventually(s.t, "the registry drains", func() bool {
		c := s.talk("", 0)
		defer c.conn.Close()
		return strings.HasPrefix(c.say("", 1), "421 4.3.2 ")
	})
}

func limited(limits wire.Limits) Settings {
	set := dialogueSettings()
	set.Wire.Limits = limits
	return set
}

const opened = "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"

// TestDrainAndBack takes a service out and back with its listener open all the
// time, twice.
func TestDrainAndBack(t *testing.T) {
	s := newStage(t, dialogueSettings())
	for range 2 {
		silent, busy := s.talk("EHLO c.test\r\n", 2), s.talk(opened, 4)
		left := make(chan int)
		go func() { left <- s.server.Registry().Drain(t.Context()) }()
		silent.gone("421 4.3.2 ")
		s.talk("", 0).gone("421 4.3.2 ")
		busy.say("DATA\r\n", 1)
		if got := busy.say("x\r\n.\r\n", 1); !strings.HasPrefix(got, "250 ") {
			t.Errorf("message in flight: %q", got)
		}
		busy.gone("421 4.3.2 ")
		if n := <-left; n != 0 {
			t.Errorf("%d are left", n)
		}
		if _, ok := s.next(); !ok {
			t.Error("nothing was delivered")
		}
		s.talk("", 0).gone("421 4.3.2 ")
		s.server.Registry().SetDraining(false)
	}
	back := s.talk(opened, 4)
	back.say("DATA\r\n", 1)
	if got := back.say("x\r\n.\r\nQUIT\r\n", 1); !strings.HasPrefix(got, "250 ") {
		t.Errorf("after the drain: %q", got)
	}
	back.gone("221 ")
}

// TestDrainOfTheSilent does not wait for clients in a transaction that say
// nothing more: their packets go elsewhere now, and nobody tells us.
func TestDrainOfTheSilent(t *testing.T) {
	s := newStage(t, limited(wire.Limits{DrainSilence: 50 * time.Millisecond}))
	between, inside := s.talk(opened, 4), s.talk(opened+"DATA\r\n", 5)
	inside.say("Subject: x\r\n", 0)
	began := time.Now()
	if n := s.server.Registry().Drain(t.Context()); n != 0 {
		t.Errorf("%d are left", n)
	}
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("they had %s to go on", took)
	}
	between.gone("421 4.3.2 ")
	inside.gone("421 4.4.2 ")
	if _, ok := s.next(); ok {
		t.Error("half a message was delivered")
	}
}

// TestDrainDoesNotDelay tells 421 at once where a banner would be waited for.
func TestDrainDoesNotDelay(t *testing.T) {
	s := newStage(t, limited(wire.Limits{BannerDelay: time.Minute}))
	s.server.Registry().SetDraining(true)
	began := time.Now()
	s.talk("", 0).gone("421 4.3.2 ")
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("told after %s", took)
	}
}

// TestDrainIsGivenUp lets a client in a transaction end it, and then go, though
// others are served again.
func TestDrainIsGivenUp(t *testing.T) {
	s := newStage(t, dialogueSettings())
	busy := s.talk(opened, 4)
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan int)
	go func() { left <- s.server.Registry().Drain(ctx) }()
	s.drained()
	cancel()
	if n := <-left; n != 1 {
		t.Errorf("%d are left, not 1", n)
	}
	s.server.Registry().SetDraining(false)
	other := s.talk("EHLO c.test\r\n", 2)
	busy.say("RCPT TO:<c@mx.test>\r\nDATA\r\n", 2)
	busy.say("x\r\n.\r\n", 1)
	busy.gone("421 4.3.2 ")
	if got := other.say("NOOP\r\n", 1); !strings.HasPrefix(got, "250 ") {
		t.Errorf("another client: %q", got)
	}
	_ = other.conn.Close()
}

// TestDrainIsOver though clients keep coming: each of them is told, and none is
// waited for.
func TestDrainIsOver(t *testing.T) {
	s := newStage(t, dialogueSettings())
	busy := s.talk(opened, 4)
	left := make(chan int)
	go func() { left <- s.server.Registry().Drain(t.Context()) }()
	s.drained()
	strays := make([]*talker, 20)
	for i := range strays {
		strays[i] = s.talk("", 1) // told, and lingering
	}
	_ = busy.conn.Close()
	select {
	case n := <-left:
		if n != 0 {
			t.Errorf("%d are left", n)
		}
	case <-time.After(kit.Patience): // the strays are there for so long
		t.Error("the drain waits for those that came after it began")
	}
	for _, c := range strays {
		_ = c.conn.Close()
	}
}

// TestCut ends those that a drain has told and that do not end.
func TestCut(t *testing.T) {
	s := newStage(t, dialogueSettings())
	busy := s.talk(opened, 4)
	if cut := s.server.Registry().Cut(); cut != 0 {
		t.Errorf("%d were cut before they were told", cut)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if n := s.server.Registry().Drain(ctx); n != 1 {
		t.Errorf("%d are left, not 1", n)
	}
	if cut := s.server.Registry().Cut(); cut != 1 || s.server.Registry().Open() != 0 {
		t.Errorf("%d were cut, %d are open", cut, s.server.Registry().Open())
	}
	if _, err := busy.r.ReadByte(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	s.server.Registry().SetDraining(false)
	s.server.Registry().Close(t.Context())
	s.server.Registry().SetDraining(false)
	s.talk("", 0).gone("421 4.3.2 ") // there is no way back from Close
}
