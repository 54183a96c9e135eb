package drain

import (
	"anymx/tests/kit"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
)

// TestStartDrained starts a node where it stood.
func TestStartDrained(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	began := time.Now().Add(-time.Hour)
	if err := fileIn(dir).write(savedState{Reason: "new disks", Began: began}); err != nil {
		t.Fatal(err)
	}
	sp := announcing()
	r := newRig(t, rigOptions{dir: dir, speaker: sp, limits: config.Drain{Graceful: never, Confirm: never, Converge: never, Sessions: never, Flush: never}})
	r.dial("421")
	r.phase(api.Drained)
	r.wantWalked("withdraw", "sessions", "flush")
	if s := r.drain.Status(); s.Reason != "new disks" || !s.Began.Equal(began) || sp.OrderWords() != "withdrawn kept" {
		t.Errorf("%+v; orders %s", s, sp.OrderWords())
	}
	if err := r.drain.Resume(); err != nil {
		t.Fatal(err)
	}
	r.beginMessage().finish()
}

// TestStartAfterDrain has nothing left to walk: it is drained at once, and what
// is left of the spool goes on being tried.
func TestStartAfterDrain(t *testing.T) {
	t.Parallel()
	dir, sp := t.TempDir(), announcing()
	t.Run("before", func(t *testing.T) {
		r := newRig(t, rigOptions{dir: dir})
		r.request(api.DrainRequest{Reason: "new disks"})
		r.phase(api.Drained)
		if s := r.onDisk(); !s.Drained || s.Reason != "new disks" {
			t.Errorf("%+v", s)
		}
		r.request(api.DrainRequest{Reason: "and a new board"})
	})
	r := newRig(t, rigOptions{dir: dir, speaker: sp})
	if phase, _ := r.drain.Phase(); phase != api.Drained || r.drain.Status().Reason != "and a new board" {
		t.Errorf("%s, %+v", phase, r.drain.Status())
	}
	r.dial("421")
	kit.Eventually(t, "the order withdrawn", func() bool { return sp.OrderWords() == "withdrawn kept" })
	r.stop(20 * time.Second)
	r.wantWalked("sessions", "flush")
	if !r.onDisk().Drained || sp.OrderWords() != "withdrawn kept" {
		t.Errorf("%+v, orders %s", r.onDisk(), sp.OrderWords())
	}
}

// TestStartUnreadable keeps a node out of service and says why.
func TestStartUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "drain.json")
	if err := os.WriteFile(file, []byte("{\"rea"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, rigOptions{dir: dir})
	r.dial("421")
	if s := r.drain.Status(); !strings.Contains(s.Reason, file) || !strings.Contains(s.Reason, "until it is resumed") {
		t.Errorf("%+v", s)
	}
	if err := r.drain.Accepting(); err == nil || !strings.Contains(err.Error(), file) {
		t.Error(err)
	}
	if err := r.drain.Resume(); err != nil {
		t.Fatal(err)
	}
	if r.onDisk() != nil {
		t.Error("the file is still there")
	}
	r.beginMessage().finish()
}

// TestEnd walks the steps when the process ends, and leaves nothing on disk.
func TestEnd(t *testing.T) {
	t.Parallel()
	sp := announcing()
	limits := config.Drain{Graceful: 500 * ms, Confirm: 2000 * ms, Converge: 50 * ms}
	r := newRig(t, rigOptions{speaker: sp, limits: limits})
	busy := r.beginMessage()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.stop(20 * time.Second)
	}()
	r.step(api.StepGraceful)
	if err := r.drain.Accepting(); err != nil {
		t.Errorf("while routers look for another way: %v", err)
	}
	r.step(api.StepSessions)
	for _, err := range []error{r.drain.Request(api.DrainRequest{}), r.drain.Resume()} {
		if !errors.Is(err, ErrStopping) {
			t.Errorf("a request while it ends: %v", err)
		}
	}
	busy.finish()
	busy.want("421")
	<-done
	r.wantWalked("graceful", "withdraw", "converge", "sessions", "flush")
	phase, _ := r.drain.Phase()
	if s := r.drain.Status(); phase != api.Stopping || !s.Stopping || sp.OrderWords() != "graceful, withdrawn" || r.onDisk() != nil {
		t.Errorf("%s, %+v, orders %s, on disk %+v", phase, s, sp.OrderWords(), r.onDisk())
	}
}

// TestEndOfDrain ends a node that is on its way out, or out: its order stays.
func TestEndOfDrain(t *testing.T) {
	t.Parallel()
	t.Run("under way", func(t *testing.T) {
		t.Parallel()
		sp := announcing()
		r := newRig(t, rigOptions{speaker: sp, limits: config.Drain{Graceful: never, Confirm: 2000 * ms, Converge: never}})
		r.request(api.DrainRequest{Reason: "new disks"})
		r.step(api.StepGraceful)
		r.stop(20 * time.Second)
		r.wantWalked("graceful: given up", "withdraw", "sessions", "flush")
		if s := r.drain.Status(); s.Reason != "new disks" || !s.Stopping || sp.OrderWords() != "graceful kept, withdrawn kept" || r.onDisk() == nil {
			t.Errorf("%+v, orders %s, on disk %+v", s, sp.OrderWords(), r.onDisk())
		}
	})
	t.Run("drained", func(t *testing.T) {
		t.Parallel()
		sp := announcing()
		r := newRig(t, rigOptions{speaker: sp})
		r.request(api.DrainRequest{})
		r.phase(api.Drained)
		r.stop(20 * time.Second)
		r.wantWalked("graceful", "withdraw", "converge", "sessions", "flush", "sessions", "flush")
		if got := sp.OrderWords(); got != "graceful kept, withdrawn kept" || r.onDisk() == nil {
			t.Errorf("orders %s, on disk %+v", got, r.onDisk())
		}
	})
}

// TestEndWithoutCore does not wait for it.
func TestEndWithoutCore(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.courier.down.Store(true)
	r.beginMessage().finish()
	kit.Eventually(t, "the queue pauses", func() bool { return r.queue.Stats().Paused != nil })
	began := time.Now()
	r.stop(time.Minute)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	r.wantWalked("sessions", "flush: 1 message is left: core is away")
}
