package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
)

// Both routers know both paths to each prefix, with all attributes that the PoPs send, and use the
// nearer one in their kernels.
func TestRoutersHoldBothPrefixesFromBothPoPs(t *testing.T) {
	l := inService(t)
	for _, prefix := range []string{Prefix4, Prefix6} {
		six := prefix == Prefix6
		t.Run("BIRD "+prefix, func(t *testing.T) {
			text, err := l.R1.Ask("show route all " + prefix)
			must(t, err)
			ways := birdWays(text)
			wantWay(t, ways[pick(six, "pop_a6", "pop_a4")], text,
				`\*.*`, `BGP\.origin: IGP`, `BGP\.as_path: 64512`, `BGP\.next_hop: `+pick(six, A6, A4)+`.*`, `BGP\.med: 10`,
				`BGP\.local_pref: 100`, `BGP\.community: \(64512,100\)`, `BGP\.large_community: \(64512, 1, 2\)`)
			wantWay(t, ways[pick(six, "r2_6", "r2_4")], text,
				`BGP\.as_path: 64502 64512`, `BGP\.community: \(64512,200\)`)
		})
		t.Run("FRR "+prefix, func(t *testing.T) {
			paths, err := l.R2.Paths(t.Context(), prefix)
			must(t, err)
			if len(paths) != 2 {
				t.Fatalf("%d ways: %+v", len(paths), paths)
			}
			for _, p := range paths {
				if len(p.NextHops) == 0 {
					t.Fatalf("a way without a next hop: %+v", p)
				}
				got := fmt.Sprintf("%s best=%v path=%s med=%d community=%s large=%s", p.NextHops[0].IP, p.Best.Overall,
					p.ASPath.String, p.MED, p.Community.String, p.LargeCommunity.String)
				want := fmt.Sprintf("%s best=true path=64512 med=20 community=64512:200 large=", pick(six, B6, B4))
				if p.ASPath.String != "64512" {
					want = fmt.Sprintf("%s best=false path=64501 64512 med=0 community=64512:100 large=64512:1:2", pick(six, "2001:db8:12::1", R1ToR2))
				}
				if got != want || !p.Valid {
					t.Errorf("valid=%v %s\nwant       %s", p.Valid, got, want)
				}
			}
		})
		for _, k := range []struct {
			routes   *Watch
			gateway  string
			protocol uint8
		}{
			{l.R1.Routes, pick(six, A6, A4), ProtocolBIRD}, {l.R2.Routes, pick(six, B6, B4), ProtocolBGP},
		} {
			if r, ok := k.routes.Route(prefix); !ok || r.Gateway.String() != k.gateway || r.Protocol != k.protocol {
				t.Errorf("the kernel has %+v, want a way through %s by protocol %d", r, k.gateway, k.protocol)
			}
		}
	}
}

func pick(six bool, a, b string) string {
	if six {
		return a
	}
	return b
}

// birdWays splits BIRD's output about a prefix into its paths, by protocol.
func birdWays(text string) map[string]string {
	ways := make(map[string]string)
	at := regexp.MustCompile(`unicast \[(\w+) `)
	found := at.FindAllStringSubmatchIndex(text, -1)
	for i, f := range found {
		end := len(text)
		if i+1 < len(found) {
			end = found[i+1][0]
		}
		ways[text[f[2]:f[3]]] = text[f[0]:end]
	}
	return ways
}

// wantWay checks a path against expressions; those without a leading BGP may match anywhere in a
// line.
func wantWay(t *testing.T, way, all string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		pattern := `(?m)^\s*` + line + `\s*$`
		if !strings.HasPrefix(line, "BGP") {
			pattern = line
		}
		if !regexp.MustCompile(pattern).MatchString(way) {
			t.Errorf("BIRD does not show %q here:\n%s\nbut in all\n%s", line, way, all)
		}
	}
}

// Each client's mail reaches the nearest PoP and from there core, over both address families and on
// both ports.
func TestMailLandsInTheNearestPoPAndInCore(t *testing.T) {
	l := inService(t)
	const recipient = "nearest"
	sent := make(map[Attempt]*Node)
	for _, c := range []struct {
		space *Namespace
		node  *Node
	}{{l.ClientA, l.A}, {l.ClientB, l.B}} {
		for _, address := range []string{Service4, Service6} {
			for _, port := range []string{"25", "8025"} {
				a := Attempt{Message: int(l.numbers.Add(1)), Number: 1}
				host, err := l.deliver(t.Context(), c.space, net.JoinHostPort(address, port), recipient, a)
				if err != nil || host != c.node.Host {
					t.Errorf("from %s to [%s]:%s: taken by %q, want %s: %v", c.space.Name, address, port, host, c.node.Host, err)
				}
				sent[a] = c.node
			}
		}
	}
	dir := l.Core.Mailbox(recipient)
	must(t, kit.Poll(t.Context(), 30*time.Second, func(context.Context) error {
		got, err := ReadMailbox(dir)
		for a := range sent {
			if err == nil && got[a] != 1 {
				err = fmt.Errorf("core has %s %d times", a.mark(), got[a])
			}
		}
		return err
	}))
	files, err := filepath.Glob(filepath.Join(dir, "new", "*"))
	must(t, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		must(t, err)
		a, err := whole(text)
		must(t, err)
		if sent[a] == nil {
			continue // from an earlier run
		}
		if host := sent[a].Host; !strings.Contains(string(text), "by "+host) {
			t.Errorf("no Received field by %s in\n%.400s", host, text)
		}
	}
}

// deliver sends one message and returns which node accepted it.
func (l *Lab) deliver(ctx context.Context, from *Namespace, address, recipient string, a Attempt) (string, error) {
	c, host, err := from.connect(ctx, address, patience)
	if err != nil {
		return host, err
	}
	defer c.Close()
	s := &sender{load: Load{Recipient: recipient}, next: a}
	if err := s.message(c); err != nil {
		return host, err
	}
	_, err = c.say("221", "QUIT\r\n")
	return host, err
}
