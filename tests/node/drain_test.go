package node

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
	"anymx/tests/kit"
	"anymx/tests/pop"
)

// announced returns the config of a node whose prefixes are announced by a speaker, with the
// drain's step times.
func announced(t *testing.T, speaker *controltest.Speaker, drain string) string {
	t.Helper()
	return fmt.Sprintf(`[anycast]
addresses = ["192.0.2.25/32"]
prefixes = ["192.0.2.0/24"]
[bgp]
asn = 64512
router_id = "198.51.100.2"
control = %q
metrics = ""
[[bgp.peer]]
address = "198.51.100.1"
asn = 64500
[net]
control = %q
metrics = ""
[drain]
%s
`, controltest.StartSpeaker(t, speaker), controltest.StartNetwork(t, controltest.NetworkStatus()), drain)
}

// everywhere returns an address that is served on all of the host's addresses, as service addresses
// need.
func everywhere(t *testing.T) string {
	return strings.Replace(kit.MustFreeAddress(t), "127.0.0.1", "0.0.0.0", 1)
}

// banner returns the first reply to a new client.
func banner(t *testing.T, address string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	line, err := io.ReadAll(io.LimitReader(conn, 4))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(line))
}

func drain(t *testing.T, p *pop.PoP, r api.DrainRequest) {
	t.Helper()
	if s, err := p.Control().Drain(context.Background(), r); err != nil || s.Phase == api.Running || s.Drain == nil {
		t.Fatalf("drain: %v, %+v", err, s)
	}
}

func resume(t *testing.T, p *pop.PoP) {
	t.Helper()
	if s, err := p.Control().Resume(context.Background()); err != nil || s.Phase != api.Running || s.Drain != nil {
		t.Fatalf("resume: %v, %+v", err, s)
	}
}

// step returns the current step, or "" between two steps or without a drain.
func step(s api.Status) api.DrainStep {
	if s.Drain == nil || len(s.Drain.Steps) == 0 {
		return ""
	}
	last := s.Drain.Steps[len(s.Drain.Steps)-1]
	if !last.Ended.IsZero() {
		return ""
	}
	return last.Step
}

func awaitStep(t *testing.T, p *pop.PoP, want api.DrainStep) {
	t.Helper()
	kit.EventuallyIn(t, 20*time.Second, "the step "+string(want), func() bool { return step(status(t, p)) == want })
}

func awaitPhase(t *testing.T, p *pop.PoP, want api.Phase) {
	t.Helper()
	kit.EventuallyIn(t, 30*time.Second, "the phase "+string(want), func() bool { return status(t, p).Phase == want })
}

// A drain serves clients as long as they may arrive, lets sessions in progress end, delivers the
// spool, and persists across restarts and a kill, until the node is resumed.
func TestDrain(t *testing.T) {
	t.Parallel()
	speaker := &controltest.Speaker{State: controltest.SpeakerStatus()}
	p := pop.Start(t, pop.Options{SMTP: everywhere(t), Config: announced(t, speaker, `graceful = "1s"
converge = "1s"`)})
	kit.EventuallyIn(t, 10*time.Second, "the neighbours are in the status", func() bool {
		s := status(t, p)
		return s.Speaker.Status != nil && s.Network.Status != nil && s.Network.Status.Tunnel.Up
	})
	idle, busy := dial(t, p.SMTP), dial(t, p.SMTP)
	busy.say("MAIL FROM:<a@b.example>", "250 .*")
	busy.say("RCPT TO:<box@example.net>", "250 .*")
	busy.say("DATA", "354 .*")
	drain(t, p, api.DrainRequest{Reason: "new disks"})
	awaitStep(t, p, api.StepGraceful)
	if s := status(t, p); !s.Ready.OK || banner(t, p.SMTP) != "220" {
		t.Errorf("while routers look for another way: ready %+v", s.Ready)
	}
	awaitStep(t, p, api.StepConverge)
	if s := status(t, p); !s.Ready.OK || banner(t, p.SMTP) != "220" {
		t.Errorf("while strays come: ready %+v", s.Ready)
	}
	idle.want("421 4.3.2 .*")
	if got := banner(t, p.SMTP); got != "421" {
		t.Errorf("a new client is told %s", got)
	}
	s := status(t, p)
	if step(s) != api.StepSessions || s.Ready.OK || !strings.Contains(s.Ready.Reason, "new disks") || s.Drain.Confirmed != 2 || s.Drain.Sessions < 1 {
		t.Errorf("%+v, ready %+v", s.Drain, s.Ready)
	}
	busy.say("Subject: in flight\r\n\r\n.", "250 2.0.0 .*")
	awaitPhase(t, p, api.Drained)
	if got := arrived(t, p, "box"); len(got) != 1 {
		t.Fatalf("%d messages arrived", len(got))
	}
	if got := speaker.OrderWords(); got != "graceful kept, withdrawn kept" {
		t.Error(got)
	}
	for _, again := range []func(){func() { p.Edge().Stop(15 * time.Second) }, func() { p.Edge().Kill() }} {
		again()
		p.LaunchEdge()
		awaitPhase(t, p, api.Drained)
		if s := status(t, p); s.Drain.Reason != "new disks" || s.Ready.OK || banner(t, p.SMTP) != "421" {
			t.Errorf("after a restart: %+v, ready %+v", s.Drain, s.Ready)
		}
	}
	resume(t, p)
	kit.EventuallyIn(t, 10*time.Second, "the order to announce", func() bool { return strings.HasSuffix(speaker.OrderWords(), ", announced kept") })
	dial(t, p.SMTP).send("a@b.example", "box@example.net", "back again")
	p.AwaitEmpty(20 * time.Second)
	if code := p.Edge().Stop(15 * time.Second); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	p.StartEdge() // in service
	// The list of core's extensions is stored for good; nothing of the drain is left.
	left, err := filepath.Glob(filepath.Join(p.Dir, "edge", "*"))
	if err != nil || len(left) != 2 || filepath.Base(left[0]) != "core-extensions.json" || filepath.Base(left[1]) != "spool" {
		t.Errorf("state directory: %v, %v", left, err)
	}
}

// SIGTERM runs the same steps quickly, and the next start is in service.
func TestTerminateWithdraws(t *testing.T) {
	t.Parallel()
	speaker := &controltest.Speaker{State: controltest.SpeakerStatus()}
	p := pop.Start(t, pop.Options{SMTP: everywhere(t), Config: announced(t, speaker, `graceful = "1s"
converge = "500ms"`)})
	busy := dial(t, p.SMTP)
	busy.say("MAIL FROM:<a@b.example>", "250 .*")
	busy.say("RCPT TO:<box@example.net>", "250 .*")
	busy.say("DATA", "354 .*")
	p.Edge().Signal(syscall.SIGTERM)
	awaitStep(t, p, api.StepGraceful)
	if s := status(t, p); s.Phase != api.Stopping || !s.Drain.Stopping || !s.Ready.OK || banner(t, p.SMTP) != "220" {
		t.Errorf("%s, %+v, ready %+v", s.Phase, s.Drain, s.Ready)
	}
	if _, err := p.Control().Drain(t.Context(), api.DrainRequest{}); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("a drain while it ends: %v", err)
	}
	awaitStep(t, p, api.StepSessions)
	busy.say("Subject: in flight\r\n\r\n.", "250 2.0.0 .*")
	if code := p.Edge().Wait(15 * time.Second); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if got := speaker.OrderWords(); got != "graceful, withdrawn" {
		t.Error(got)
	}
	if got := arrived(t, p, "box"); len(got) != 1 {
		t.Errorf("%d messages arrived", len(got))
	}
	p.StartEdge()
	awaitPhase(t, p, api.Running)
}

// With core unreachable, a node finishes its drain with messages left. It keeps them across a
// restart and delivers them when core is back, still drained.
func TestDrainWithCoreAway(t *testing.T) {
	t.Parallel()
	p := pop.Start(t, pop.Options{CoreConfig: `backoff_max = "1s"`, Config: "[drain]\nflush = \"1s\"\n"})
	p.EmbeddedCore().Kill()
	c := dial(t, p.SMTP)
	for i := range 3 {
		c.send("a@b.example", "box@example.net", fmt.Sprint("left ", i))
	}
	drain(t, p, api.DrainRequest{Reason: "core is away"})
	awaitPhase(t, p, api.Drained)
	s := status(t, p).Drain
	last := s.Steps[len(s.Steps)-1]
	if last.Step != api.StepFlush || !strings.HasPrefix(last.Note, "3 messages are left: ") || s.Messages != 3 {
		t.Errorf("%+v", s)
	}
	if code := p.Edge().Stop(15 * time.Second); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	p.LaunchEdge()
	awaitPhase(t, p, api.Drained)
	p.StartCore()
	p.AwaitEmpty(30 * time.Second)
	if got := arrived(t, p, "box"); len(got) != 3 {
		t.Errorf("%d messages arrived", len(got))
	}
	awaitPhase(t, p, api.Drained)
}

// An unreadable drain state keeps the node out of service and is reported.
func TestDrainStateUnreadable(t *testing.T) {
	t.Parallel()
	p := pop.Start(t, pop.Options{})
	p.Edge().Kill()
	if err := os.WriteFile(filepath.Join(p.Dir, "edge", "drain.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.LaunchEdge()
	if s := status(t, p); s.Drain == nil || !strings.Contains(s.Drain.Reason, "drain.json") || s.Ready.OK || banner(t, p.SMTP) != "421" {
		t.Errorf("%s, %+v, ready %+v", s.Phase, s.Drain, s.Ready)
	}
	resume(t, p)
	dial(t, p.SMTP).send("a@b.example", "box@example.net", "back")
}

// A socket opened by systemd stays open all the time: through a drain, a restart and a resume, the
// kernel never refuses a connection.
func TestDrainWithPassedSocket(t *testing.T) {
	t.Parallel()
	l, file := kit.ListenFile(t, kit.MustFreeAddress(t))
	p := pop.Start(t, pop.Options{SMTP: l.Addr().String(), Passed: file})
	dial(t, p.SMTP).send("a@b.example", "box@example.net", "before")
	drain(t, p, api.DrainRequest{})
	awaitPhase(t, p, api.Drained)
	if got := banner(t, p.SMTP); got != "421" {
		t.Errorf("drained: %s", got)
	}
	resume(t, p)
	dial(t, p.SMTP).send("a@b.example", "box@example.net", "between")
	drain(t, p, api.DrainRequest{})
	awaitPhase(t, p, api.Drained)
	if code := p.Edge().Stop(15 * time.Second); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	between, err := net.Dial("tcp", p.SMTP) // it waits in the kernel
	if err != nil {
		t.Fatal(err)
	}
	defer between.Close()
	p.LaunchEdge()
	_ = between.SetDeadline(time.Now().Add(10 * time.Second))
	if line, err := io.ReadAll(io.LimitReader(between, 4)); err != nil || string(line) != "421 " {
		t.Errorf("%q, %v", line, err)
	}
	resume(t, p)
	dial(t, p.SMTP).send("a@b.example", "box@example.net", "after")
	p.AwaitEmpty(20 * time.Second)
	if got := arrived(t, p, "box"); len(got) != 3 {
		t.Errorf("%d messages arrived", len(got))
	}
}
