package drain

import (
	"anymx/tests/kit"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/queue"

	"github.com/prometheus/client_golang/prometheus"
)

// A node whose disk takes nothing is drained all the same, and whoever asked is
// told that a restart will not know of it.
func TestDrainWithoutDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{limits: quick, dir: filepath.Join(t.TempDir(), "absent")})
	err := r.drain.Request(api.DrainRequest{Reason: "the disk fails"})
	if err == nil || !strings.Contains(err.Error(), "only until anymx-edge is started again") {
		t.Errorf("answered with %v", err)
	}
	r.phase(api.Drained)
	r.dial("421")
	if s := r.drain.Status(); s.Reason != "the disk fails" {
		t.Errorf("%+v", s)
	}
	if err := r.drain.Resume(); err == nil {
		t.Error("a resume was promised that a restart would not know")
	}
}

// TestDrainAndResume walks all the steps with a client in a transaction, and
// back.
func TestDrainAndResume(t *testing.T) {
	t.Parallel()
	sp := announcing()
	r := newRig(t, rigOptions{speaker: sp, limits: config.Drain{Graceful: never, Confirm: never, Converge: never, Sessions: never, Flush: never}})
	idle, busy := r.dial("220"), r.beginMessage()
	r.request(api.DrainRequest{Reason: "new disks"})
	if s := r.onDisk(); s == nil || s.Reason != "new disks" {
		t.Fatalf("on disk when it was answered: %+v", s)
	}
	r.step(api.StepGraceful)
	kit.Eventually(t, "the order graceful", func() bool { return sp.OrderWords() == "graceful kept" })
	if err := r.drain.Accepting(); err != nil {
		t.Errorf("while routers look for another way: %v", err)
	}
	r.request(api.DrainRequest{Now: true, Reason: "fire"})
	r.step(api.StepConverge)
	if err := r.drain.Accepting(); err != nil {
		t.Errorf("while strays come: %v", err)
	}
	stray := r.dial("220")
	if s := r.drain.Status(); s.Reason != "fire" || s.Confirmed != 2 || s.Peers != 2 || s.Sessions != 3 || r.onDisk().Reason != "fire" {
		t.Errorf("%+v, on disk %+v", s, r.onDisk())
	}
	r.limits.Store(&quick) // a reload; the step under way keeps its limit
	if err := r.drain.Resume(); err != nil {
		t.Fatal(err)
	}
	r.phase(api.Running)
	kit.Eventually(t, "the order announced", func() bool { return strings.HasSuffix(sp.OrderWords(), ", announced kept") })

	r.request(api.DrainRequest{})
	r.step(api.StepSessions)
	kit.Eventually(t, "421 for all", func() bool {
		err := r.drain.Accepting()
		return err != nil && strings.Contains(err.Error(), "draining")
	})
	idle.want("421")
	stray.want("421")
	r.dial("421")
	busy.finish()
	busy.want("421")
	r.phase(api.Drained)
	r.wantWalked("graceful", "withdraw", "converge", "sessions", "flush")
	if got := sp.OrderWords(); got != "graceful kept, withdrawn kept, announced kept, graceful kept, withdrawn kept" {
		t.Error(got)
	}
	if s := r.drain.Status(); s.Messages != 0 {
		t.Errorf("%+v", s)
	}
	r.dial("421")
	r.request(api.DrainRequest{Reason: "still"}) // the same drain
	r.wantWalked("graceful", "withdraw", "converge", "sessions", "flush")
	if err := r.drain.Resume(); err != nil || r.onDisk() != nil {
		t.Fatalf("resume: %v, on disk %+v", err, r.onDisk())
	}
	if phase, _ := r.drain.Phase(); phase != api.Running || r.drain.Status() != nil || r.drain.Accepting() != nil {
		t.Errorf("resumed: %s, %+v", phase, r.drain.Status())
	}
	r.beginMessage().finish()
}

// TestResumeFromEachStep gives a drain up in each of its steps: nobody is cut.
func TestResumeFromEachStep(t *testing.T) {
	t.Parallel()
	for _, step := range steps {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			limits, sp := quick, announcing()
			switch step {
			case api.StepGraceful:
				limits.Graceful = never
			case api.StepWithdraw:
				sp.OnAsk = func(s *api.SpeakerStatus) { s.Peers[1].Confirmed = s.Routes != api.Withdrawn }
			case api.StepConverge:
				limits.Converge = never
			}
			r := newRig(t, rigOptions{speaker: sp, limits: limits})
			if step == api.StepFlush {
				r.courier.down.Store(true)
				r.beginMessage().finish()
			}
			var busy *client
			if step != api.StepFlush {
				busy = r.beginMessage()
			}
			r.request(api.DrainRequest{})
			r.step(step)
			if err := r.drain.Resume(); err != nil {
				t.Fatal(err)
			}
			if phase, _ := r.drain.Phase(); phase != api.Running || r.onDisk() != nil {
				t.Errorf("%s, on disk %+v", phase, r.onDisk())
			}
			if busy != nil {
				busy.finish()
			}
			r.beginMessage().finish()
			kit.Eventually(t, "the order announced", func() bool { return strings.HasSuffix(sp.OrderWords(), "announced kept") })
		})
	}
}

func TestDrainNow(t *testing.T) {
	t.Parallel()
	sp := announcing()
	r := newRig(t, rigOptions{speaker: sp, limits: config.Drain{Graceful: never, Confirm: never, Converge: 20 * ms, Sessions: never, Flush: never}})
	r.request(api.DrainRequest{Now: true})
	r.phase(api.Drained)
	r.wantWalked("withdraw", "converge", "sessions", "flush")
	if got := sp.OrderWords(); got != "withdrawn kept" {
		t.Error(got)
	}
}

// TestSessionsAreCut after their time.
func TestSessionsAreCut(t *testing.T) {
	t.Parallel()
	limits := quick
	limits.Sessions = 100 * ms
	r := newRig(t, rigOptions{limits: limits})
	busy := r.beginMessage()
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	r.wantWalked("sessions: 1 session was cut", "flush")
	if _, err := busy.r.ReadByte(); err == nil {
		t.Error("it was not cut")
	}
}

// TestCoreIsAway drains with messages left, and hands them over when core is
// back, still drained. What is on hold is not waited for.
func TestCoreIsAway(t *testing.T) {
	t.Parallel()
	limits := quick
	limits.Flush = 300 * ms
	r := newRig(t, rigOptions{limits: limits})
	r.courier.down.Store(true)
	r.beginMessage().finish()
	r.beginMessage().finish()
	kit.Eventually(t, "the queue pauses", func() bool { return r.queue.Stats().Paused != nil })
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	r.wantWalked("sessions", "flush: 2 messages are left: core is away")
	page, _, err := r.queue.List(t.Context(), queue.Filter{Limit: 2})
	if err != nil || len(page) != 2 {
		t.Fatalf("%d messages (%v)", len(page), err)
	}
	if answer, err := r.queue.Hold("look at it", page[0].Envelope.ID); err != nil || len(answer.Done) != 1 {
		t.Fatalf("%+v, %v", answer, err)
	}
	r.courier.down.Store(false)
	kit.Eventually(t, "core has it", func() bool { s := r.drain.Status(); return s.Messages == 1 && s.Held == 1 })
	if phase, _ := r.drain.Phase(); phase != api.Drained {
		t.Error(phase)
	}
	if err := r.drain.Resume(); err != nil {
		t.Fatal(err)
	}
	limits.Flush = never
	r.limits.Store(&limits)
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	r.wantWalked("sessions", "flush: 1 message is left, on hold")
}

// TestRequestsAtOnce come from several operators: whatever the order, the node
// and its disk agree at the end.
func TestRequestsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{speaker: announcing()})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				if err := r.drain.Request(api.DrainRequest{Now: true}); err != nil {
					t.Error(err)
				}
				if err := r.drain.Resume(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if phase, _ := r.drain.Phase(); phase != api.Running || r.onDisk() != nil {
		t.Errorf("%s, on disk %+v", phase, r.onDisk())
	}
	r.beginMessage().finish()
}

// TestDrainMetrics reads them in each state.
func TestDrainMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{limits: config.Drain{Sessions: never}})
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r.drain)
	value := func(name, step string) float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.Metric {
				if f.GetName() == name && (len(m.Label) == 0 || m.Label[0].GetValue() == step) {
					return m.Gauge.GetValue()
				}
			}
		}
		t.Fatalf("no %s", name)
		return 0
	}
	if value("anymx_drain_out_of_service", "") != 0 || value("anymx_drain_sessions", "") != 0 {
		t.Error("not 0 in service")
	}
	busy := r.beginMessage()
	r.request(api.DrainRequest{})
	r.step(api.StepSessions)
	if value("anymx_drain_out_of_service", "") != 1 || value("anymx_drain_step", "sessions") != 1 || value("anymx_drain_step", "flush") != 0 ||
		value("anymx_drain_sessions", "") != 1 || value("anymx_drain_step_seconds", "sessions") <= 0 {
		t.Error("the step sessions is not seen")
	}
	busy.finish()
	r.phase(api.Drained)
	if value("anymx_drain_step", "sessions") != 0 || value("anymx_drain_step_seconds", "sessions") <= 0 || value("anymx_drain_out_of_service", "") != 1 {
		t.Error("the end is not seen")
	}
}
