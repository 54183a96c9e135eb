package control_test

import (
	"crypto/sha256"
	"encoding/base64"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
)

// troubled is a node with everything wrong, and with mail addresses in every
// text that others wrote.
func troubled() *controltest.Node {
	n := controltest.New()
	s := &n.State
	s.Name, s.Phase = `<b>"ams1"</b>`, api.Draining
	s.Ready = api.Readiness{}
	s.Spool.Accepting, s.Spool.Reason = false, "disk reserve; last was user1@example.net"
	s.Spool.Bytes = s.Spool.HighWater * 95 / 100
	s.Queue.Paused = []api.PauseStatus{{Cause: "550 5.7.1 <user2@example.net> is not welcome", Until: controltest.Now.Add(9e9)}}
	s.Core[1].LastError = `550 no "john doe"@example.net here`
	s.TLS.NotAfter, s.TLS.Problem = controltest.Now.Add(-1), "key.pem is not the key of cert.pem"
	s.Config.Problem = "/etc/anymx/recipients:3: bad address user3@example.net"
	n.ReadyErr = &api.Error{Text: "probe of user4@example.net failed"}
	return n
}

func getPage(t *testing.T, n control.Node) (string, map[string][]string) {
	t.Helper()
	socket, url := controltest.Start(t, n, true)
	c := overUnix(t, socket)
	c.Transport = nil
	status, h, body := ask(t, c, "GET", url+"/", "")
	if status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	t.Cleanup(c.CloseIdleConnections)
	return body, h
}

func TestPage(t *testing.T) {
	body, h := getPage(t, controltest.New())
	wellFormed(t, body)
	for _, want := range []string{
		"<title>ams1: running</title>", "running for 3d 4h", ">ready<", "<b>3</b> waiting", "1,234", "of 20,000", "The oldest message came 1d ago",
		"10.77.0.1:2525", "1,843,022", "connection refused (next try in 8s)", "mx.example.net, *.mx.example.net", "expires in 62d", "anymx v0.1.0, up 3d 4h",
		`http-equiv="refresh" content="5"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	policy := h["Content-Security-Policy"][0]
	_, style, _ := strings.Cut(body, "<style>")
	style, _, _ = strings.Cut(style, "</style>")
	sum := sha256.Sum256([]byte(style))
	if want := "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, want) {
		t.Errorf("the policy %q does not allow the style as it was sent: %s", policy, want)
	}
	if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(body, "<script") || strings.Contains(body, "style=") {
		t.Error("the page must do without scripts and style attributes")
	}
}

func TestPageOfTroubledNode(t *testing.T) {
	body, _ := getPage(t, troubled())
	wellFormed(t, body)
	for _, want := range []string{
		"&lt;b&gt;", "draining", "not ready", "The spool takes no more mail", "Delivery is paused", "next probe in 9s",
		"The last reload changed nothing", "EXPIRED", "key.pem is not the key", `class="full"`, "(names a mail address; see anymx status)",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, never := range []string{"user1", "user2", "user3", "user4", "john", "alice", "bob", "@example", "<b>&#34;"} {
		if strings.Contains(body, never) {
			t.Errorf("the page says %q", never)
		}
	}
}

func TestPageOfNetwork(t *testing.T) {
	for name, tt := range map[string]struct {
		node      func(*controltest.Node)
		says, not []string
	}{
		"well": {controltest.OnNetwork,
			[]string{
				`<span class="pill good">announced</span> for 3d 3h: healthy`, "192.0.2.0/24, 2001:db8:25::/48", "AS4200000001",
				`<span class="pill good">Established for 11m, confirmed</span>`, "wg-core is up, kernel (it has WireGuard), MTU 1420",
				"203.0.113.9:51820", "handshake 48s ago", "all 4 addresses, rules and routes are in place",
			},
			[]string{"health:", "<h2>Drain</h2>", `class="note`},
		},
		"troubled": {controltest.NetworkTroubled,
			[]string{
				`<p class="note bad"><b>Routes are withdrawn</b> for 4s: by command: look at it</p>`, "The tunnel to core is down:",
				"`anymx resume` ends the command", "health: down for 4s", "readyz: 503 not ready", "tunnel: no handshake (for information)",
				`<span class="pill bad">Active for 11m, no session</span>`, `dial: connection refused \x1b]0;owned\a (9s ago)`,
				`received Cease, Administrative Reset: \x1b[2Jbye`, "NO HANDSHAKE yet", "endpoint not known", "public key of this node",
				"is missing: cannot assign", "netlink: permission denied", "the MTU of the tunnel may be too large", "bgp.asn",
			},
			[]string{"\x1b", "\x07"},
		},
		"draining": {controltest.Draining,
			[]string{
				"kernel update", "took 10s", `<span class="pill bad">ended</span>`, "198.51.100.1 did not acknowledge",
				`<span class="pill warn">under way</span>`, "3s of at most 5s", "left: 12 sessions, 5 messages (1 held); 1 of 2 peers confirmed",
				`<span class="pill warn">withdrawn</span> for 8s`,
			},
			[]string{`class="note`},
		},
		"silent": {func(n *controltest.Node) {
			n.State.Speaker = &api.Neighbour[api.SpeakerStatus]{Problem: "no anymx-bgp answers"}
			n.State.Network = &api.Neighbour[api.NetworkStatus]{}
		}, []string{"no anymx-bgp answers", "anymx-net has not been asked yet"}, []string{"<h2>Tunnel</h2>", "<th>Router</th>"}},
		"shield": {shieldOn(controltest.ShieldStatus()),
			[]string{"<h2>Shield</h2>", "native on eth0, generic on eth1; own cookies, shared key; 5 prefixes listed", "in peace; the most so far: 1,412,345 SYNs/s"},
			[]string{`class="note`, "VERDICT", "syn-answered"},
		},
		"shield half open": {shieldOn(controltest.ShieldTroubled()),
			[]string{"<b>The shield is open:</b> packets pass unseen on eth1", `<p class="line wrong">eth1: PACKETS PASS UNSEEN: driver \x1b[2J has no XDP`, "UNDER PRESSURE"},
			[]string{"\x1b"},
		},
		"shield off": {shieldOn(controltest.ShieldOff()),
			[]string{"<b>The shield is open:</b> everything passes", `<p class="line wrong">off: EVERYTHING PASSES`}, nil,
		},
		"shield not loaded": {shieldOn(controltest.ShieldUnloaded()),
			[]string{"<b>The shield is open:</b> not loaded: packets pass unprotected; capability CAP_BPF is missing", "NOT LOADED"}, nil,
		},
		"core group": {func(n *controltest.Node) {
			n.State.Core[1].Group = "archive"
		}, []string{"<td>10.77.0.1:2525</td>", "<td>archive 10.77.0.2:2525</td>"}, nil,
		},
		"addresses": {func(n *controltest.Node) {
			controltest.NetworkTroubled(n)
			controltest.Draining(n)
			n.State.Drain.Reason = "user1@example.net asked"
			n.State.Drain.Steps[1].Note = "user2@example.net"
			s, w := n.State.Speaker.Status, n.State.Network.Status
			s.Reason, s.Peers[1].LastNotification, s.Peers[1].State = "user3@example.net", "user4@example.net", "user5@example.net"
			s.Health.Checks[0].Reason, s.Health.Checks[0].OK = "user6@example.net", false
			w.Problem, w.Tunnel.Problem, w.Tunnel.Peers[0].Endpoint = "user7@example.net", "user8@example.net", "user9@example.net"
			n.State.Core[0].Probe = &api.ProbeStatus{Problem: "user10@example.net"}
			w.Shield = controltest.ShieldStatus()
			w.Shield.Problem, w.Shield.Interfaces[0].Problem, w.Shield.Interfaces[1].Name = "user11@example.net", "user12@example.net", "user13@example.net"
			w.Shield.Interfaces[1].Mode, w.Shield.CookiesReason = "off", "user14@example.net"
		}, []string{"(names a mail address; see anymx status)"}, []string{"user", "@example"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := controltest.New()
			tt.node(n)
			body, _ := getPage(t, n)
			wellFormed(t, body)
			text := html.UnescapeString(body)
			for _, want := range tt.says {
				if !strings.Contains(text, want) {
					t.Errorf("the page does not say %q", want)
				}
			}
			for _, never := range tt.not {
				if strings.Contains(text, never) {
					t.Errorf("the page says %q", never)
				}
			}
		})
	}
}

// shieldOn is a node with this shield.
func shieldOn(s *api.ShieldStatus) func(*controltest.Node) {
	return func(n *controltest.Node) {
		controltest.OnNetwork(n)
		n.State.Network.Status.Shield = s
	}
}

// No figure of an empty node may break the page.
func TestPageOfEmptyNode(t *testing.T) {
	n := &controltest.Node{State: api.Status{Name: "x", Phase: api.Starting}}
	body, _ := getPage(t, n)
	wellFormed(t, body)
	for _, want := range []string{"No message waits.", "None: STARTTLS is not offered.", "no address"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// wellFormed checks that every element is closed in order, and asks tidy for
// the rest where it is installed.
func wellFormed(t *testing.T, body string) {
	t.Helper()
	void := []string{"meta", "link", "br", "hr", "img", "input"}
	var open []string
	z := html.NewTokenizer(strings.NewReader(body))
	for kind := z.Next(); kind != html.ErrorToken; kind = z.Next() {
		name, _ := z.TagName()
		switch tag := string(name); {
		case kind == html.StartTagToken && !slices.Contains(void, tag):
			open = append(open, tag)
		case kind == html.EndTagToken && (len(open) == 0 || open[len(open)-1] != tag):
			t.Fatalf("</%s> closes %v", tag, open)
		case kind == html.EndTagToken:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Fatalf("never closed: %v", open)
	}
	tidy, err := exec.LookPath("tidy")
	if err != nil {
		t.Skip("tidy is not installed (package tidy): checked only that elements are closed")
	}
	cmd := exec.Command(tidy, "-quiet", "-errors", "-utf8")
	cmd.Stdin = strings.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("tidy: %v\n%s", err, out)
	}
}
