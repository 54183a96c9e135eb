package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/tests/kit"
)

// hostileASN is the ASN of the misbehaving routers.
const hostileASN = 64599

// tablePrefixes is the size of the full table that one of them sends: a tenth of the Internet's,
// which is still far more than a node should store.
const tablePrefixes = 100_000

// A peer with the wrong ASN, one with another password, one that sends a full table, one with
// malformed UPDATEs and one that flaps disturb neither the speaker nor its session with the good
// router. None of their routes are accepted.
func TestBadPeers(t *testing.T) {
	l := inService(t)
	r1, speaker := l.Space("r1"), l.A.Program(BGP)
	before4, before6 := since(t, l.R1, "pop_a4"), since(t, l.R1, "pop_a6")
	kernel := kernelRoutes(t, l.A)
	heard := routesFromA(t, l)
	small, err := RSS(speaker)
	must(t, err)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	wrong := filepath.Join(l.A.Dir, "wrong.password")
	must(t, secretFile(wrong, "not-the-secret", users[BGP]))
	peers := make(map[string]*hostile)
	var config strings.Builder
	for i, bad := range []struct {
		name, password string
		keys           string // TOML
		story          func(*hostile, *bgpConn) error
	}{
		{"wrong ASN", "", "", func(h *hostile, c *bgpConn) error {
			if err := c.handshake(hostileASN - 1); err != nil {
				return err
			}
			return c.stay(ctx, h)
		}},
		{"wrong password", password, fmt.Sprintf("password_file = %q\n", wrong), func(h *hostile, c *bgpConn) error {
			return c.stay(ctx, h)
		}},
		{"full table", "", "", func(h *hostile, c *bgpConn) error {
			if err := c.handshake(hostileASN); err != nil {
				return err
			}
			for _, update := range fullTable(hostileASN, "198.51.100.1", tablePrefixes) {
				if err := c.send(update); err != nil {
					return err
				}
				h.told.Add(1)
			}
			return c.stay(ctx, h)
		}},
		{"malformed UPDATEs", "", "", func(h *hostile, c *bgpConn) error {
			if err := c.handshake(hostileASN); err != nil {
				return err
			}
			for range 100 {
				for _, body := range malformed {
					if err := c.send(bgpMessage(bgpUpdate, body)); err != nil {
						return err
					}
					h.told.Add(1)
				}
			}
			return c.stay(ctx, h)
		}},
		{"flapping", "", "connect_retry = \"1s\"\n", func(_ *hostile, c *bgpConn) error {
			if err := c.handshake(hostileASN); err != nil {
				return err
			}
			return c.send(bgpMessage(bgpNotification, []byte{6, 4})) // then it closes
		}},
	} {
		address := fmt.Sprintf("198.51.100.%d", 11+i)
		must(t, r1.IP(t.Context(), "address", "add", address+"/25", "dev", "pop-a"))
		h, err := r1.listenHostile(net.JoinHostPort(address, "1790"), bad.password, A4, bad.story)
		must(t, err)
		t.Cleanup(func() {
			_ = h.Close()
			_ = r1.IP(context.Background(), "address", "delete", address+"/25", "dev", "pop-a")
		})
		peers[bad.name] = h
		fmt.Fprintf(&config, "\n[[bgp.peer]]\naddress = %q\nasn = %d\nport = 1790\n%s", address, hostileASN, bad.keys)
	}
	defer stop() // runs before the listeners wait for their stories
	must(t, l.A.Append(config.String()))
	must(t, l.A.Reload(BGP))

	tables := int64(len(fullTable(hostileASN, "198.51.100.1", tablePrefixes)))
	must(t, kit.Poll(t.Context(), time.Minute, func(ctx context.Context) error {
		flaps, told, bad := peers["flapping"].accepted.Load(), peers["full table"].told.Load(), peers["malformed UPDATEs"].told.Load()
		if flaps < 5 || told < tables || bad < 100*int64(len(malformed)) || peers["wrong ASN"].accepted.Load() < 2 {
			return fmt.Errorf("%d flaps, %d UPDATEs of %d, %d malformed, %d with the wrong ASN", flaps, told, tables, bad, peers["wrong ASN"].accepted.Load())
		}
		return nil
	}))
	s, err := l.A.Speaker.Status(t.Context())
	must(t, err)
	for i, name := range []string{"wrong ASN", "wrong password", "full table", "malformed UPDATEs", "flapping"} {
		at := peerAt(s, fmt.Sprintf("198.51.100.%d", 11+i))
		if at == nil {
			t.Fatalf("the speaker does not know of the peer %s: %+v", name, s.Peers)
		}
		t.Logf("%s: %s, last error %q, last notification %q", name, at.State, at.LastError, at.LastNotification)
		if up := at.State == "Established"; name != "flapping" && up != (name == "full table" || name == "malformed UPDATEs") {
			t.Errorf("the session with the peer %s is %s", name, at.State)
		}
	}
	if n := peers["wrong password"].accepted.Load(); n > 0 {
		t.Errorf("%d connections were made with the wrong password", n)
	}

	if speaker != l.A.Program(BGP) || !speaker.Running() {
		t.Fatalf("the speaker has died:\n%s", speaker.Tail(30))
	}
	large, err := RSS(speaker)
	must(t, err)
	t.Logf("%d prefixes, %d malformed UPDATEs and %d flaps later: %d KiB in use, %d KiB before", tablePrefixes,
		peers["malformed UPDATEs"].told.Load(), peers["flapping"].accepted.Load(), large>>10, small>>10)
	if large > small+48<<20 {
		t.Errorf("memory has grown from %d to %d bytes", small, large)
	}
	if now := kernelRoutes(t, l.A); now != kernel {
		t.Errorf("the PoP's kernel has other routes than before:\n%s\nbefore:\n%s", now, kernel)
	}
	if now := routesFromA(t, l); now != heard {
		t.Errorf("r1 hears other routes than before:\n%s\nbefore:\n%s", now, heard)
	}
	if a4, a6 := since(t, l.R1, "pop_a4"), since(t, l.R1, "pop_a6"); !a4.same(before4) || !a6.same(before6) {
		t.Errorf("the good router's sessions flapped: %s and %s, before %s and %s", a4, a6, before4, before6)
	}
	stillObeyed(t, l)

	must(t, l.A.Append(""))
	must(t, l.A.Reload(BGP))
	must(t, kit.Poll(t.Context(), 20*time.Second, func(ctx context.Context) error {
		s, err := l.A.Speaker.Status(ctx)
		if err == nil && len(s.Peers) != 2 {
			err = fmt.Errorf("%d peers", len(s.Peers))
		}
		return err
	}))
	if a4 := since(t, l.R1, "pop_a4"); !a4.same(before4) {
		t.Error("taking the bad peers away has flapped the good one")
	}
	_ = os.Remove(wrong)
}

// stillObeyed makes the speaker withdraw and announce despite the bad peers.
func stillObeyed(t *testing.T, l *Lab) {
	t.Helper()
	for _, o := range []api.DesiredState{{Routes: api.Withdrawn, Reason: "test"}, {Routes: api.Announced, Reason: "test"}} {
		began := time.Now()
		_, err := l.A.Speaker.SetDesired(t.Context(), o)
		must(t, err)
		if o.Routes == api.Withdrawn {
			_, err = l.R1.Routes.AwaitLeft(t.Context(), Prefix4, A4, began, 10*time.Second)
		} else {
			_, err = l.R1.Routes.Await(t.Context(), Prefix4, A4, 10*time.Second)
		}
		if err != nil {
			t.Errorf("order %s: %v", o.Routes, err)
		}
	}
}

func peerAt(s api.SpeakerStatus, address string) *api.SpeakerPeer {
	for i := range s.Peers {
		if s.Peers[i].Address.String() == address {
			return &s.Peers[i]
		}
	}
	return nil
}

// kernelRoutes returns all routes in the PoP's kernel, from every table.
func kernelRoutes(t *testing.T, n *Node) string {
	t.Helper()
	text, err := n.Namespace.Output(t.Context(), "sh", "-c", "ip route show table all; ip -6 route show table all | sed 's/ expires [^ ]*//'")
	must(t, err)
	return text
}

// routesFromA returns the prefixes that r1 receives from PoP a.
func routesFromA(t *testing.T, l *Lab) string {
	t.Helper()
	var all []string
	for _, session := range []string{"pop_a4", "pop_a6"} {
		text, err := l.R1.Ask("show route protocol " + session)
		must(t, err)
		for line := range strings.Lines(text) {
			if f := strings.Fields(line); len(f) > 1 && strings.Contains(f[0], "/") {
				all = append(all, f[0])
			}
		}
	}
	return strings.Join(all, " ")
}
