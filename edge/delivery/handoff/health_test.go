package handoff

import (
	"testing"
	"time"

	"anymx/edge/mail"
)

func TestHealthBackoff(t *testing.T) {
	c := newClock()
	h := health{state: Unused}
	const most = 20 * time.Second
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 20, 20} {
		want *= time.Second
		if !h.usable(c.now) {
			t.Fatalf("%d: not usable", i)
		}
		if !h.failed(c.now, c.now, most, 0.5) {
			t.Fatalf("%d: not down", i)
		}
		if got := h.retryAt.Sub(c.now); got != want {
			t.Errorf("%d: pause of %v, want %v", i, got, want)
		}
		if h.failed(c.now, c.now, most, 0.5) || h.usable(c.add(want-1)) {
			t.Errorf("%d: usable in its pause, or made longer by the same trouble", i)
		}
		c.add(1)
	}
	if !h.usable(c.now) || h.usable(c.now) || h.state != Probing {
		t.Error("more than one probe")
	}
	if !h.opened(c.now) || h.opened(c.now) || h.state != Up {
		t.Error("not back")
	}
	// An attempt that began before it came back says nothing.
	if h.failed(c.now.Add(-time.Second), c.now, most, 0.5) {
		t.Error("down by an old attempt")
	}
	// Nothing was delivered since: the pause goes on growing.
	if h.failed(c.now, c.now, most, 0); h.retryAt.Sub(c.now) != most*3/4 {
		t.Errorf("pause of %v", h.retryAt.Sub(c.now))
	}
	h.usable(c.add(most))
	h.opened(c.now)
	h.worked(c.now)
	if h.failed(c.now, c.now, most, 0.999); h.retryAt.Sub(c.now) > 1250*time.Millisecond {
		t.Errorf("pause of %v", h.retryAt.Sub(c.now))
	}
}

func TestHealthForgo(t *testing.T) {
	c := newClock()
	h := health{state: Unused}
	h.failed(c.now, c.now, time.Minute, 0.5)
	h.usable(c.add(time.Second))
	h.forgo(c.now)
	if !h.usable(c.now) {
		t.Error("nobody may probe any more")
	}
	// A connection that came back meanwhile is the next probe: an answer over it ends the probing.
	if h.worked(c.now); h.state != Up || !h.usable(c.now) {
		t.Errorf("%s after an answer", h.state)
	}
	up := health{state: Up}
	if up.forgo(c.now); up.state != Up {
		t.Error("an address that is up has no probe to forgo")
	}
}

func TestHealthBroken(t *testing.T) {
	c := newClock()
	h := health{state: Up}
	for range 10 { // one message that kills every connection is its own fault
		if h.broken(mail.ID{1}) {
			t.Fatal("one message took the address down")
		}
	}
	if h.broken(mail.ID{2}) || !h.broken(mail.ID{3}) {
		t.Error("three different messages do")
	}
	h.failed(c.now, c.now, time.Minute, 0.5)
	h.usable(c.add(time.Minute))
	h.opened(c.now)
	if !h.broken(mail.ID{4}) {
		t.Error("after a pause one is enough")
	}
	h.worked(c.now)
	if h.broken(mail.ID{5}) {
		t.Error("it had worked")
	}
}
