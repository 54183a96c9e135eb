package drain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/tests/kit"
)

// nothingKept fails the test if a restart would find the node out of service.
func (r *rig) nothingKept() {
	r.t.Helper()
	if _, err := os.Stat(filepath.Join(r.dir, "drain.json")); err == nil {
		r.t.Error("something is on disk")
	}
	if s := r.drain.Status(); s == nil || s.Until != api.UntilRestart {
		r.t.Errorf("status %+v", s)
	}
}

// A drain until the restart takes all steps, and nobody saves anything of it: not the node, not the
// speaker, and not the end of the process.
func TestDrainUntilRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	t.Run("before", func(t *testing.T) {
		sp := announcing()
		r := newRig(t, rigOptions{dir: dir, speaker: sp})
		r.request(api.DrainRequest{Reason: "an update", Until: api.UntilRestart})
		r.nothingKept()
		r.phase(api.Drained)
		r.dial("421")
		r.wantWalked("graceful", "withdraw", "converge", "sessions", "flush")
		r.nothingKept()
		if got := sp.OrderWords(); got != "graceful, withdrawn" {
			t.Error(got)
		}
		r.request(api.DrainRequest{Reason: "the same", Until: api.UntilRestart})
		r.nothingKept()
		if s := r.drain.Status(); s.Reason != "the same" {
			t.Errorf("%+v", s)
		}
		r.stop(20 * time.Second)
		r.nothingKept()
		if got := sp.OrderWords(); strings.Contains(got, "kept") {
			t.Error(got)
		}
	})
	r := newRig(t, rigOptions{dir: dir, speaker: announcing()})
	if phase, _ := r.drain.Phase(); phase != api.Running {
		t.Errorf("after the restart: %s", phase)
	}
	r.beginMessage().finish()
}

// Under way or over, it can be made to last, and then the speaker keeps its part
// as well; and it can be taken back.
func TestDrainUntilRestartThatIsToLast(t *testing.T) {
	t.Parallel()
	for _, step := range []api.DrainStep{api.StepGraceful, api.StepConverge, ""} {
		t.Run("from the step "+string(step), func(t *testing.T) {
			t.Parallel()
			limits, sp := quick, announcing()
			switch step {
			case api.StepGraceful:
				limits.Graceful = never
			case api.StepConverge:
				limits.Converge = never
			}
			r := newRig(t, rigOptions{speaker: sp, limits: limits})
			r.request(api.DrainRequest{Reason: "an update", Until: api.UntilRestart})
			if step == "" {
				r.phase(api.Drained)
			} else {
				r.step(step)
			}
			r.request(api.DrainRequest{})
			if s := r.onDisk(); s == nil || s.Reason != "an update" {
				t.Fatalf("on disk when it was answered: %+v", s)
			}
			if s := r.drain.Status(); s.Until != "" {
				t.Errorf("status %+v", s)
			}
			kit.Eventually(t, "the speaker keeps it", func() bool { return strings.HasSuffix(sp.OrderWords(), " kept") })
			r.request(api.DrainRequest{Until: api.UntilRestart, Now: true}) // it lasts all the same
			if r.onDisk() == nil || r.drain.Status().Until != "" {
				t.Errorf("on disk %+v, status %+v", r.onDisk(), r.drain.Status())
			}
			if step == api.StepConverge { // nothing ends it but its time
				r.stop(20 * time.Second)
			} else {
				r.phase(api.Drained)
				if !r.onDisk().Drained {
					t.Error("a restart would take its steps again")
				}
			}
			if got := sp.OrderWords(); !strings.HasSuffix(got, "withdrawn kept") {
				t.Error(got)
			}
		})
	}
}

// A resume ends it like any other, and the next drain is one that lasts.
func TestResumeFromDrainUntilRestart(t *testing.T) {
	t.Parallel()
	sp := announcing()
	r := newRig(t, rigOptions{speaker: sp})
	r.request(api.DrainRequest{Until: api.UntilRestart})
	r.phase(api.Drained)
	if err := r.drain.Resume(); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the order announced", func() bool { return strings.HasSuffix(sp.OrderWords(), "announced kept") })
	kit.Eventually(t, "nothing is on disk", func() bool {
		_, err := os.Stat(filepath.Join(r.dir, "drain.json"))
		return err != nil
	})
	r.beginMessage().finish()
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	if s := r.drain.Status(); s.Until != "" || r.onDisk() == nil || !strings.HasSuffix(sp.OrderWords(), "graceful kept, withdrawn kept") {
		t.Errorf("%+v, on disk %+v, orders %s", s, r.onDisk(), sp.OrderWords())
	}
}

// A drain that the disk did not take ends with the process, for the speaker as
// for the node: else the routes would stay away and nobody would know why.
func TestEndOfDrainWithoutDisk(t *testing.T) {
	t.Parallel()
	sp := announcing()
	limits := config.Drain{Graceful: never, Confirm: 2000 * ms}
	r := newRig(t, rigOptions{speaker: sp, limits: limits, dir: filepath.Join(t.TempDir(), "absent")})
	if err := r.drain.Request(api.DrainRequest{}); err == nil {
		t.Fatal("the disk has taken it")
	}
	r.step(api.StepGraceful)
	r.stop(20 * time.Second)
	if got := sp.OrderWords(); got != "graceful, withdrawn" {
		t.Error(got)
	}
}
