package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/tests/pop"
)

func TestMain(m *testing.M) {
	code := pop.Main(m)
	if shared != nil {
		if err := shared.Down(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// shared is the lab that the tests use one after the other. A failed test leaves it in an unknown
// state, so the next test gets a new one.
var shared *Lab

// inService returns a lab with both nodes announcing and core reachable.
func inService(t *testing.T) *Lab {
	t.Helper()
	needs(t)
	if shared == nil {
		l, err := Up(t.Context(), Options{Bin: pop.Build(t)})
		if err != nil {
			t.Fatal(err)
		}
		shared = l
	}
	l := shared
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, n := range []*Node{l.A, l.B} {
			for _, name := range Programs {
				if p := n.Program(name); p != nil {
					t.Logf("PoP %s, %s (running: %v) ends:\n%s", n.Role, name, p.Running(), p.Tail(25))
				}
			}
		}
		shared = nil
		if err := l.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, n := range []*Node{l.A, l.B} {
		must(t, n.Start(t.Context()))
	}
	for _, want := range []struct {
		routes          *Watch
		prefix, gateway string
	}{
		{l.R1.Routes, Prefix4, A4}, {l.R1.Routes, Prefix6, A6}, {l.R2.Routes, Prefix4, B4}, {l.R2.Routes, Prefix6, B6},
	} {
		if _, err := want.routes.Await(t.Context(), want.prefix, want.gateway, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// needs skips the test where a lab can't run.
func needs(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces want root")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip("wireguard-go wants the TUN device:", err)
	}
	for program, from := range map[string]string{
		"ip": "iproute2", "bird": "bird2", "zebra": "frr", "bgpd": "frr", "vtysh": "frr",
		"wg": "wireguard-tools", "wireguard-go": "wireguard-go", "setpriv": "util-linux",
	} {
		if _, err := exec.LookPath(lookUp(program)); err != nil {
			t.Skipf("%s is not installed (package %s)", program, from)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// anymx runs the operator's command against a node and returns its output.
func (n *Node) anymx(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, n.Bin+"/anymx", args...)
	cmd.Env = Environment(n.Bin, n.Dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("anymx %s: %w", strings.Join(args, " "), err)
	}
	return string(out), err
}

// command runs anymx and fails the test on an error.
func command(t *testing.T, n *Node, args ...string) string {
	t.Helper()
	out, err := n.anymx(t.Context(), args...)
	if err != nil {
		t.Fatalf("%v; it printed\n%s", err, out)
	}
	return out
}

// status returns a node's status.
func status(t *testing.T, n *Node) api.Status {
	t.Helper()
	s, err := n.Client.Status(t.Context())
	must(t, err)
	return s
}

// settled ends a load and checks core against the acknowledgements: each message was stored exactly
// once.
func settled(t *testing.T, l *Lab, load *Running, recipient string, limit time.Duration) (Ledger, Account) {
	t.Helper()
	ledger, err := load.Stop()
	if err != nil {
		t.Error(err)
	}
	account, err := l.AwaitDelivery(t.Context(), ledger, recipient, limit)
	if err != nil {
		t.Error(err)
	}
	if len(account.Doubled) > 0 {
		t.Errorf("%d acknowledged messages are in core more than once, such as %v", len(account.Doubled), account.Doubled[0])
	}
	t.Logf("%d messages acknowledged in %s, %d lost, %d doubled; %d transactions repeated after a lost connection and %d after a 421, "+
		"%d connections refused; %d attempts stored whose end no client heard; longest gap of a session %s, mean of the longest %s",
		account.Acknowledged, ledger.Took.Round(time.Millisecond), len(account.Lost), len(account.Doubled), ledger.Repeated, ledger.SentAway,
		ledger.Refused, account.Unheard, ledger.Gap.Round(time.Millisecond), ledger.MeanGap.Round(time.Millisecond))
	return ledger, account
}

// session is a BIRD session's state, and when it came into it.
type session struct {
	since time.Time // of day
	state string
}

// same reports whether a session is in the state that it was in before, without having left it. BIRD
// subtracts two clocks for each answer, so its times differ by a millisecond now and then. A session
// that was lost has come up later than before was asked for.
func (s session) same(before session) bool {
	return s.state == before.state && s.since.Sub(before.since).Abs() < 10*time.Millisecond
}

func (s session) String() string { return s.state + " since " + s.since.Format(birdTime) }

// birdTime is how BIRD prints a time of today.
const birdTime = "15:04:05.000"

// since returns the state of the named BIRD session.
func since(t *testing.T, b *BIRD, name string) session {
	t.Helper()
	text, err := b.Ask("show protocols " + name)
	must(t, err)
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) >= 6 && f[0] == name {
			at, err := time.Parse(birdTime, f[4])
			must(t, err)
			return session{at, f[5]}
		}
	}
	t.Fatalf("BIRD does not show %s:\n%s", name, text)
	return session{}
}
