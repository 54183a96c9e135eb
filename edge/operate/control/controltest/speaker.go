package controltest

import (
	"context"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// Speaker is a BGP speaker in memory. Its fields are set before it is used.
type Speaker struct {
	State api.SpeakerStatus
	// OrderErr is the answer to a command, if set. OnAsk, if set, changes State before each answer,
	// after a command was applied.
	OrderErr error
	OnAsk    func(*api.SpeakerStatus)

	mu     sync.Mutex
	orders []api.DesiredState
}

// Orders returns the commands that reached the speaker.
func (s *Speaker) Orders() []api.DesiredState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders
}

// OrderWords returns the routes of each command that reached the speaker, with "kept" where it is
// kept, separated by commas.
func (s *Speaker) OrderWords() string {
	var list []string
	for _, o := range s.Orders() {
		word := string(o.Routes)
		if o.Keep {
			word += " kept"
		}
		list = append(list, word)
	}
	return strings.Join(list, ", ")
}

func (s *Speaker) answer() api.SpeakerStatus {
	if s.OnAsk != nil {
		s.OnAsk(&s.State)
	}
	return s.State
}

func (s *Speaker) status(*http.Request) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answer(), nil
}

func (s *Speaker) order(r *http.Request) (any, error) {
	var o api.DesiredState
	if err := control.ReadJSON(r, &o); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orders = append(s.orders, o)
	if s.OrderErr != nil {
		return nil, s.OrderErr
	}
	if o.Keep && s.State.Desired.Keep && !o.Given.IsZero() && o.Given.Before(s.State.DesiredAt) {
		return nil, &api.Error{Code: api.Superseded, Text: "a later command holds"}
	}
	o.Given = time.Time{}
	s.State.Desired, s.State.DesiredAt = o, Now
	if o.Routes != api.Announced || s.State.Health.Up {
		s.State.Routes, s.State.Since, s.State.Reason = o.Routes, Now, "healthy"
		if o.Routes != api.Announced {
			s.State.Reason = "by command: " + o.Reason
		}
	}
	return s.answer(), nil
}

// StartSpeaker serves s on a real control socket until the test ends, and returns the socket's
// path.
func StartSpeaker(t testing.TB, s *Speaker) string {
	t.Helper()
	e, err := control.NewEndpoint(control.EndpointOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.Handle("GET /v1/status", s.status)
	e.Handle("POST /v1/desired", s.order)
	return StartEndpoint(t, "bgp.sock", e)
}

// StartEndpoint serves e on a control socket of this name until the test ends, and returns the
// socket's path.
func StartEndpoint(t testing.TB, name string, e *control.Endpoint) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), name)
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx, l, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the endpoint %s ended with: %v", name, err)
		}
	})
	return socket
}

// SpeakerStatus returns a speaker that announces two prefixes to two routers.
func SpeakerStatus() api.SpeakerStatus {
	announced := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8:25::/48")}
	peer := func(address string, asn uint32, since time.Duration) api.SpeakerPeer {
		a := netip.MustParseAddr(address)
		p := api.SpeakerPeer{Address: a, ASN: asn, State: "Established", Since: ago(since), HoldTime: api.Seconds(9 * time.Second), Confirmed: true}
		for _, prefix := range announced {
			p.Advertised = append(p.Advertised, api.AdvertisedRoute{Prefix: prefix, NextHop: a, ASPath: []uint32{64512}, Communities: []string{"64500:100"}})
		}
		return p
	}
	return api.SpeakerStatus{
		Version: "v0.1.0", PID: 4712, Started: ago(76 * time.Hour), ASN: 64512, RouterID: netip.MustParseAddr("198.51.100.2"),
		Desired: api.DesiredState{Routes: api.Announced}, Routes: api.Announced, Reason: "healthy", Since: ago(75 * time.Hour),
		Prefixes: announced,
		Health: api.SpeakerHealth{Up: true, Since: ago(75 * time.Hour), Checks: []api.HealthCheck{
			{Name: "readyz", OK: true, Took: api.Seconds(2 * time.Millisecond), At: ago(time.Second)},
			{Name: "smtp 192.0.2.25:25", OK: true, Took: api.Seconds(3 * time.Millisecond), At: ago(time.Second)},
			{Name: "tunnel", OK: true, Information: true, At: ago(time.Second)},
		}},
		Peers:  []api.SpeakerPeer{peer("198.51.100.1", 64500, 75*time.Hour), peer("2001:db8:ffff::1", 4200000001, 11*time.Minute)},
		Config: &api.ConfigStatus{File: "/etc/anymx/anymx.toml", Loaded: ago(76 * time.Hour)},
	}
}

// NetworkStatus returns an anymx-net with a tunnel, where nothing is missing.
func NetworkStatus() api.NetworkStatus {
	thing := func(kind, what, purpose string) api.NetworkItem {
		return api.NetworkItem{Kind: kind, What: what, Purpose: purpose, Present: true}
	}
	return api.NetworkStatus{
		Version: "v0.1.0", PID: 4713, Started: ago(76 * time.Hour), Compared: ago(7 * time.Second), Repaired: 1,
		Items: []api.NetworkItem{
			thing("address", "192.0.2.25/32 dev lo", "service"),
			thing("address", "2001:db8:25::25/128 dev lo", "service"),
			thing("rule", "from 198.51.100.10 lookup 1010", "source"),
			thing("route", "10.77.0.0/24 dev wg-core", "tunnel"),
		},
		Tunnel: &api.TunnelStatus{
			Interface: "wg-core", Implementation: "kernel", Reason: "it has WireGuard", PublicKey: "6NIy5xzpkQ8NkDWGHVqBHHeIBCQcFjUWhoKTPpJ2xhQ=",
			ListenPort: 51820, MTU: 1420, Up: true,
			Peers: []api.TunnelPeer{{
				PublicKey: "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=", Endpoint: "203.0.113.9:51820",
				AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/24")}, LastHandshake: ago(48 * time.Second),
				Received: 48 << 20, Sent: 7 << 30, Up: true,
			}},
		},
	}
}
