package node

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
	"anymx/tests/pop"
)

// A node that is killed repeatedly in the middle of its self-test leaves nothing of it: the spool
// is empty, and core never sees a test message.
func TestKilledWithinSelfTests(t *testing.T) {
	t.Parallel()
	p := pop.Start(t, pop.Options{})
	for range 5 {
		var all sync.WaitGroup
		passed := make(chan struct{}, 1)
		for range 4 {
			all.Go(func() {
				for {
					if _, err := p.Control().SelfTest(t.Context()); err != nil {
						return // the process is dead
					}
					select {
					case passed <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 10 {
			select {
			case <-passed:
			case <-time.After(20 * time.Second):
				t.Fatal("no self-test passes")
			}
		}
		p.Edge().Kill()
		all.Wait()
		p.StartEdge()
		if s := status(t, p); s.Spool.Messages != 0 || s.Spool.Bytes != 0 || s.Queue.Total() != 0 {
			t.Fatalf("after the kill: spool %+v, queue %+v", s.Spool, s.Queue)
		}
	}
	dial(t, p.SMTP).send("a@b.example", "box@example.net", "after all self-tests")
	p.AwaitEmpty(20 * time.Second)
	boxes, err := filepath.Glob(filepath.Join(p.Maildirs(), "*", "*", "new", "*"))
	if err != nil || len(boxes) != 1 || len(arrived(t, p, "box")) != 1 {
		t.Errorf("core has %q (%v)", boxes, err)
	}
	if log := p.Edge().Tail(1000); strings.Contains(log, "proof.invalid") {
		t.Errorf("the log of mail has a self-test:\n%s", log)
	}
}

// A drain until the restart is forgotten by the node and its speaker, however the node ends; a
// persistent drain is not. The node runs its self-test in both cases while drained.
func TestDrainUntilRestart(t *testing.T) {
	t.Parallel()
	speaker := &controltest.Speaker{State: controltest.SpeakerStatus()}
	p := pop.Start(t, pop.Options{SMTP: everywhere(t), Config: announced(t, speaker, "graceful = \"0s\"\nconverge = \"0s\"")})
	for _, end := range []func(){func() { p.Edge().Stop(15 * time.Second) }, func() { p.Edge().Kill() }} {
		drain(t, p, api.DrainRequest{Reason: "an update", Until: api.UntilRestart})
		awaitPhase(t, p, api.Drained)
		if s := status(t, p); s.Drain.Until != api.UntilRestart || s.Drain.Reason != "an update" || banner(t, p.SMTP) != "421" {
			t.Errorf("%+v", s.Drain)
		}
		if passed, err := p.Control().SelfTest(t.Context()); err != nil || len(passed.Listeners) != 1 {
			t.Errorf("%+v, %v", passed, err)
		}
		end()
		p.StartEdge() // waits for its banner
		awaitPhase(t, p, api.Running)
		if got := speaker.OrderWords(); strings.Contains(got, "withdrawn kept") {
			t.Errorf("the speaker keeps %s", got)
		}
	}
	drain(t, p, api.DrainRequest{Until: api.UntilRestart})
	drain(t, p, api.DrainRequest{Reason: "new disks"})
	awaitPhase(t, p, api.Drained)
	if s := status(t, p); s.Drain.Until != "" {
		t.Errorf("%+v", s.Drain)
	}
	p.Edge().Kill()
	p.LaunchEdge()
	awaitPhase(t, p, api.Drained)
	if _, err := os.Stat(filepath.Join(p.Dir, "edge", "drain.json")); err != nil {
		t.Error(err)
	}
	resume(t, p)
}
