package drain

import (
	"anymx/tests/kit"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
	"anymx/edge/operate/poll"
	"anymx/edge/operate/words"
)

// A resume that the speaker never heard of does not undo an order that the
// operator gave it later, while this program was away.
func TestOldResumeIsOvertaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := fileIn(dir).write(savedState{Began: time.Now().Add(-time.Hour), Resumed: true}); err != nil {
		t.Fatal(err)
	}
	sp := announcing()
	sp.State.Desired, sp.State.DesiredAt = api.DesiredState{Routes: api.Withdrawn, Keep: true}, time.Now()
	sp.State.Routes = api.Withdrawn
	r := newRig(t, rigOptions{dir: dir, speaker: sp})
	kit.Eventually(t, "the order is given up", func() bool { o, _ := r.speaker.Desired(); return o == nil })
	kit.Eventually(t, "nothing is left on disk", func() bool { return r.onDisk() == nil })
	if s := r.speaker.Last(); s.Status != nil && s.Status.Routes != api.Withdrawn {
		t.Errorf("%+v", s.Status)
	}
}

// A client that comes to a drained node is not something that is left of it; a
// router that may still send traffic is.
func TestWhatIsLeftOfADrainedNode(t *testing.T) {
	t.Parallel()
	sp := announcing()
	sp.OnAsk = func(s *api.SpeakerStatus) { s.Peers[1].Confirmed = s.Routes != api.Withdrawn }
	limits := quick
	limits.Confirm = 200 * ms
	r := newRig(t, rigOptions{speaker: sp, limits: limits})
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	c, err := net.Dial("tcp", r.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	left := func() []string {
		s := api.Status{Phase: api.Drained, Drain: r.drain.Status(), Speaker: r.speaker.Last()}
		return words.DrainLeft(s, time.Now())
	}
	if got := left(); len(got) != 1 || !strings.Contains(got[0], "1 of 2 peers confirmed the withdrawal") {
		t.Errorf("left: %q", got)
	}
}

// TestRoutesWithdrawnBefore has nobody to wait for.
func TestRoutesWithdrawnBefore(t *testing.T) {
	t.Parallel()
	sp := announcing()
	sp.State.Routes, sp.State.Health.Up = api.Withdrawn, false
	r := newRig(t, rigOptions{speaker: sp, limits: config.Drain{Graceful: never, Confirm: never, Converge: never, Sessions: never, Flush: never}})
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	r.wantWalked("withdraw", "sessions", "flush")
}

func TestRouterThatDoesNotConfirm(t *testing.T) {
	t.Parallel()
	sp := announcing()
	sp.OnAsk = func(s *api.SpeakerStatus) { s.Peers[1].Confirmed = s.Routes != api.Withdrawn }
	limits := quick
	limits.Confirm = 300 * ms
	r := newRig(t, rigOptions{speaker: sp, limits: limits})
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	r.wantWalked("graceful", "withdraw: not acknowledged by 2001:db8:ffff::1", "converge", "sessions", "flush")
	if s := r.drain.Status(); s.Confirmed != 1 || s.Peers != 2 {
		t.Errorf("%d of %d", s.Confirmed, s.Peers)
	}
}

// TestSpeakerIsDead goes on without it. When it comes, it hears what is wanted.
func TestSpeakerIsDead(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "bgp.sock")
	limits := quick
	limits.Confirm = 100 * ms
	r := newRig(t, rigOptions{socket: socket, limits: limits})
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	for i, note := range r.walked()[:2] {
		if want := []string{"graceful: ", "withdraw: "}[i]; !strings.HasPrefix(note, want) || !strings.Contains(note, "anymx-bgp") {
			t.Errorf("step %d: %q", i, note)
		}
	}
	if answer := r.speaker.Last(); answer.Problem == "" || answer.Asked.IsZero() {
		t.Errorf("status says %+v", answer)
	}
	sp := announcing()
	if err := os.Symlink(controltest.StartSpeaker(t, sp), socket); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the order withdrawn", func() bool { return sp.OrderWords() == "withdrawn kept" })
	if err := r.drain.Resume(); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the order announced", func() bool { return sp.OrderWords() == "withdrawn kept, announced kept" })
	kit.Eventually(t, "the status", func() bool { return r.speaker.Last().Problem == "" })
}

// TestSpeakerHearsOfResumeLater, after the node has ended and begun again: the
// speaker's own order to withdraw would last for ever.
func TestSpeakerHearsOfResumeLater(t *testing.T) {
	t.Parallel()
	dir, socket := t.TempDir(), filepath.Join(t.TempDir(), "bgp.sock")
	file := filepath.Join(dir, "drain.json")
	t.Run("resumed", func(t *testing.T) {
		r := newRig(t, rigOptions{dir: dir, socket: socket})
		if err := r.drain.Resume(); err != nil { // one that is in service stays so
			t.Fatal(err)
		}
		limits := quick
		limits.Confirm = 10 * ms
		r.limits.Store(&limits)
		r.request(api.DrainRequest{Now: true})
		r.phase(api.Drained)
		if err := r.drain.Resume(); err != nil {
			t.Fatal(err)
		}
		r.beginMessage().finish()
	})
	if _, err := os.Stat(file); err != nil {
		t.Fatal("nobody will tell the speaker:", err)
	}
	r := newRig(t, rigOptions{dir: dir, socket: socket})
	if phase, _ := r.drain.Phase(); phase != api.Running {
		t.Error(phase)
	}
	sp := announcing()
	if err := os.Symlink(controltest.StartSpeaker(t, sp), socket); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the order announced", func() bool { return sp.OrderWords() == "announced kept" })
	kit.Eventually(t, "nothing is left on disk", func() bool { _, err := os.Stat(file); return errors.Is(err, os.ErrNotExist) })
}

// TestSpeakerForgets is told again while the node is drained, and not once it is
// in service.
func TestSpeakerForgets(t *testing.T) {
	t.Parallel()
	sp := announcing()
	var forget atomic.Bool
	sp.OnAsk = func(s *api.SpeakerStatus) {
		if forget.CompareAndSwap(true, false) {
			s.Desired = api.DesiredState{}
		}
	}
	r := newRig(t, rigOptions{speaker: sp})
	r.request(api.DrainRequest{Now: true})
	r.phase(api.Drained)
	forget.Store(true)
	kit.Eventually(t, "the order is given again", func() bool { return sp.OrderWords() == "withdrawn kept, withdrawn kept" })
	if err := r.drain.Resume(); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the order announced", func() bool { return sp.OrderWords() == "withdrawn kept, withdrawn kept, announced kept" })
	forget.Store(true)
	began := time.Now()
	kit.Eventually(t, "two more answers", func() bool { return r.speaker.Last().Asked.After(began.Add(poll.Every)) })
	if n := len(sp.Orders()); n != 3 {
		t.Errorf("%d orders", n)
	}
}
