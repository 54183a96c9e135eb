package controltest

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// Network is an anymx-net in memory: its status, and lists that can be changed. Its
// fields are set before it is used.
type Network struct {
	State   api.NetworkStatus
	Top     api.ShieldTop
	Entries []api.ShieldEntry
	// Broken, if set, is the answer to every request about the shield.
	Broken error
	// Room is how many entries the lists can hold; 0: any number.
	Room int

	mu sync.Mutex
}

// StartNetwork serves an anymx-net with the status s on a real control socket until the test ends,
// and returns the socket's path.
func StartNetwork(t testing.TB, s api.NetworkStatus) string {
	t.Helper()
	return (&Network{State: s}).Start(t)
}

// Start serves n on a real control socket until the test ends, and returns the socket's path.
func (n *Network) Start(t testing.TB) string {
	t.Helper()
	e, err := control.NewEndpoint(control.EndpointOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for pattern, answer := range map[string]func(*http.Request) (any, error){
		"GET /v1/status":         func(*http.Request) (any, error) { return n.State, nil },
		"GET /v1/shield/top":     n.top,
		"GET /v1/shield/lists":   func(*http.Request) (any, error) { return api.ShieldLists{Entries: n.Entries}, n.Broken },
		"POST /v1/shield/list":   n.list,
		"POST /v1/shield/unlist": n.unlist,
		"POST /v1/shield/mode":   n.mode,
	} {
		e.Handle(pattern, func(r *http.Request) (any, error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			return answer(r)
		})
	}
	return StartEndpoint(t, "net.sock", e)
}

func (n *Network) top(r *http.Request) (any, error) {
	most, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("n"), "20"))
	if err != nil || most < 1 {
		return nil, &api.Error{Code: api.BadRequest, Text: fmt.Sprintf("n=%q reached anymx-net", r.URL.Query().Get("n"))}
	}
	t := n.Top
	t.Noisy, t.Openers = t.Noisy[:min(most, len(t.Noisy))], t.Openers[:min(most, len(t.Openers))]
	return t, n.Broken
}

func (n *Network) list(r *http.Request) (any, error) {
	var e api.ShieldEntry
	if err := control.ReadJSON(r, &e); err != nil || n.Broken != nil {
		return nil, cmp.Or(err, n.Broken)
	}
	if e.Source != "" || !e.Prefix.IsValid() || e.Prefix != e.Prefix.Masked() {
		return nil, &api.Error{Code: api.BadRequest, Text: fmt.Sprintf("%+v reached anymx-net", e)}
	}
	e.Source = "command"
	i := n.find(e.Prefix)
	switch {
	case i >= 0:
		n.Entries = slices.Clone(n.Entries)
		n.Entries[i] = e
	case n.Room > 0 && len(n.Entries) >= n.Room:
		return nil, fmt.Errorf("%s: the list is full", e.Prefix)
	default:
		n.Entries = append(n.Entries, e)
	}
	return e, nil
}

func (n *Network) find(p netip.Prefix) int {
	return slices.IndexFunc(n.Entries, func(e api.ShieldEntry) bool { return e.Prefix == p })
}

func (n *Network) unlist(r *http.Request) (any, error) {
	var u api.ShieldUnlist
	if err := control.ReadJSON(r, &u); err != nil || n.Broken != nil {
		return nil, cmp.Or(err, n.Broken)
	}
	i := slices.IndexFunc(n.Entries, func(e api.ShieldEntry) bool { return e.Prefix == u.Prefix && e.Source == "command" })
	if i >= 0 {
		n.Entries = slices.Delete(slices.Clone(n.Entries), i, i+1)
		return api.ShieldUnlisted{Removed: true}, nil
	}
	if i := n.find(u.Prefix); i >= 0 {
		return nil, &api.Error{Code: api.BadRequest, Text: fmt.Sprintf("%s is listed in the file %s: remove it there", u.Prefix, n.Entries[i].Source)}
	}
	return api.ShieldUnlisted{}, nil
}

// mode changes the mode of the shield, except on interfaces with a problem.
func (n *Network) mode(r *http.Request) (any, error) {
	var m api.ShieldMode
	if err := control.ReadJSON(r, &m); err != nil || n.Broken != nil {
		return nil, cmp.Or(err, n.Broken)
	}
	s := *n.State.Shield
	s.Mode, s.Interfaces = m.Mode, slices.Clone(s.Interfaces)
	for i := range s.Interfaces {
		if s.Interfaces[i].Problem == "" {
			s.Interfaces[i].Mode = m.Mode
		}
	}
	n.State.Shield = &s
	return n.State, nil
}

// ShieldStatus returns a shield without a current flood, which has seen one.
func ShieldStatus() *api.ShieldStatus {
	return &api.ShieldStatus{
		Mode: "auto", Interfaces: []api.ShieldInterface{{Name: "eth0", Mode: "native", Admits: true}, {Name: "eth1", Mode: "generic", Admits: true}},
		Cookies: "own", SharedKey: true, Listed: 5,
		SYNs:   api.ShieldPressure{Peak: 1412345.4, Limit: 1000},
		Strays: api.ShieldPressure{Peak: 37.2, Limit: 1000},
		Verdicts: []api.ShieldVerdict{
			{Verdict: "other", Packets: 90210, Bytes: 12 << 20}, {Verdict: "not-tcp", Packets: 311, Bytes: 30478}, {Verdict: "unparsable"},
			{Verdict: "fragment", Packets: 2, Bytes: 3028}, {Verdict: "malformed", Packets: 17, Bytes: 1020}, {Verdict: "unserved", Packets: 48211, Bytes: 3 << 20},
			{Verdict: "blocked", Packets: 12345, Bytes: 740 << 10}, {Verdict: "limited", Packets: 88, Bytes: 6512}, {Verdict: "syn-passed", Packets: 1843022, Bytes: 130 << 20},
			{Verdict: "syn-answered", Packets: 8123456789, Bytes: 560 << 30}, {Verdict: "syn-failed", Packets: 3, Bytes: 222}, {Verdict: "established", Packets: 70123456, Bytes: 81 << 30},
			{Verdict: "handshake", Packets: 1842980, Bytes: 116 << 20}, {Verdict: "cookie", Packets: 4021, Bytes: 265386}, {Verdict: "stray", Packets: 9044, Bytes: 542640},
			{Verdict: "bogus", Packets: 61, Bytes: 3660}, {Verdict: "admitted", Packets: 4019, Bytes: 265254}, {Verdict: "unadmitted", Packets: 2, Bytes: 132},
		},
	}
}

// ShieldTroubled returns a shield under a flood of both kinds, with an interface that it can't
// attach to.
func ShieldTroubled() *api.ShieldStatus {
	s := ShieldStatus()
	s.Interfaces = []api.ShieldInterface{
		{Name: "eth0", Mode: "native"}, {Name: "eth1", Mode: "off", Problem: "interface eth1: driver \x1b[2J has no XDP"},
	}
	s.Problem = s.Interfaces[1].Problem
	s.SYNs.On, s.SYNs.Left, s.Strays.On, s.Strays.Left = true, api.Seconds(8200*time.Millisecond), true, api.Seconds(72*time.Second)
	return s
}

// ShieldUnloaded returns a shield that could not be loaded.
func ShieldUnloaded() *api.ShieldStatus {
	return &api.ShieldStatus{
		Mode: "auto", Interfaces: []api.ShieldInterface{{Name: "eth0", Mode: "off"}}, Verdicts: []api.ShieldVerdict{},
		Problem: "not loaded: packets pass unprotected; capability CAP_BPF is missing",
	}
}

// ShieldOff returns a shield that was switched off.
func ShieldOff() *api.ShieldStatus {
	s := ShieldStatus()
	s.Mode = "off"
	for i := range s.Interfaces {
		s.Interfaces[i].Mode, s.Interfaces[i].Admits = "off", false
	}
	return s
}

// ShieldNetwork returns an anymx-net with a shield, some prefixes on its lists, and some noisy
// ones.
func ShieldNetwork() *Network {
	n := &Network{State: NetworkStatus()}
	n.State.Shield = ShieldStatus()
	prefix := netip.MustParsePrefix
	n.Entries = []api.ShieldEntry{
		{Prefix: prefix("2001:db8:bad::/48"), Source: "command", Reason: "scans \x1b[31m"},
		{Prefix: prefix("203.0.113.0/24"), Until: Now.Add(41 * time.Minute), Source: "command", Reason: "flood"},
		{Prefix: prefix("203.0.113.7/32"), Allowed: true, Source: "command"},
		{Prefix: prefix("203.0.113.128/25"), Allowed: true, Source: "/etc/anymx/shield.allow"},
		{Prefix: prefix("198.51.100.0/25"), Source: "/etc/anymx/shield.block"},
	}
	n.Top = api.ShieldTop{
		Noisy: []api.ShieldNoisy{
			{Prefix: prefix("198.51.100.0/24"), Packets: 1234567, Bytes: 71 << 20, Last: "syn-answered", Seen: ago(300 * time.Millisecond)},
			{Prefix: prefix("2001:db8:bad:1::/64"), Packets: 64, Bytes: 4736, Last: "blocked", Seen: ago(3 * time.Hour)},
		},
		Openers: []api.ShieldOpener{
			{Prefix: prefix("192.0.2.0/24"), Connections: 10023, Limited: true, Seen: ago(2 * time.Second)},
			{Prefix: prefix("2001:db8:1:2::/64"), Connections: 7, Seen: ago(20 * time.Minute)},
		},
	}
	return n
}
