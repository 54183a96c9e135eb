package network

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"anymx/edge/operate/api"
	"anymx/edge/service"
	"anymx/edge/uplink/plumb"
	"anymx/edge/uplink/tunnel"
)

// Sections are those that a config must have for this program: none. A node may have addresses and
// no tunnel, or the reverse.
var Sections []string

// maxShown bounds how many problems the one-line summary lists.
const maxShown = 3

func (n *network) answer(*http.Request) (any, error) { return n.status(), nil }

// status returns the network's current state.
func (n *network) status() api.NetworkStatus {
	about := n.reloader.Status()
	p := n.plumbing.Status()
	s := api.NetworkStatus{
		Version: service.Version(), PID: os.Getpid(), Started: n.started,
		Items: things(p.Things), Repaired: p.Repaired, Compared: p.Compared, Degraded: n.degraded.List(), Config: about, Clock: n.env.Clock.Status(),
	}
	problems := complaints(p)
	if n.core != nil {
		t, open := n.core.status()
		s.Tunnel = tunnelStatus(t)
		if !open {
			problems = append(problems, fmt.Sprintf("tunnel %s not open: %s", t.Interface, t.Problem))
		}
	}
	if n.shield != nil {
		s.Shield = n.shield.status()
		if s.Shield.Problem != "" {
			problems = append(problems, "shield: "+s.Shield.Problem)
		}
	}
	if about.Problem != "" {
		problems = append(problems, "the last reload changed nothing: "+about.Problem)
	}
	s.Problem = strings.Join(problems, "; ")
	return s
}

func things(states []plumb.State) []api.NetworkItem {
	list := make([]api.NetworkItem, len(states))
	for i, s := range states {
		list[i] = api.NetworkItem{
			Kind: s.Kind(), What: s.String(), Purpose: s.Purpose, Present: s.Present, Problem: s.Problem,
		}
	}
	return list
}

// complaints sums up what is missing.
func complaints(p plumb.Status) []string {
	if p.Problem != "" {
		return []string{p.Problem}
	}
	if p.Compared.IsZero() {
		return []string{"config and kernel have not been compared yet"}
	}
	var problems []string
	missing := 0
	for _, s := range p.Things {
		if s.Present {
			continue
		}
		if missing++; missing > maxShown {
			continue
		}
		text := fmt.Sprintf("%s %s is missing", s.Kind(), s)
		if s.Problem != "" {
			text += ": " + s.Problem
		}
		problems = append(problems, text)
	}
	if missing > maxShown {
		problems = append(problems, fmt.Sprintf("and %d more are missing", missing-maxShown))
	}
	return append(problems, remains(p, maxShown)...)
}

// remains names what is no longer wanted and could not be removed, up to most things.
func remains(p plumb.Status, most int) []string {
	var problems []string
	for i, s := range p.Left {
		if i == most {
			return append(problems, fmt.Sprintf("and %d more could not be removed", len(p.Left)-most))
		}
		problems = append(problems, fmt.Sprintf("%s %s could not be removed: %s", s.Kind(), s, s.Problem))
	}
	return problems
}

func tunnelStatus(t tunnel.Status) *api.TunnelStatus {
	s := &api.TunnelStatus{
		Interface: t.Interface, Implementation: t.Implementation, Reason: t.Why,
		ListenPort: t.ListenPort, MTU: t.MTU, Up: t.Up, Problem: t.Problem,
		Peers: make([]api.TunnelPeer, len(t.Peers)),
	}
	if t.PublicKey != (tunnel.PublicKey{}) {
		s.PublicKey = t.PublicKey.String()
	}
	for i, p := range t.Peers {
		s.Peers[i] = api.TunnelPeer{
			PublicKey: p.PublicKey.String(), AllowedIPs: p.AllowedIPs, LastHandshake: p.LastHandshake,
			Received: p.Received, Sent: p.Sent, Up: p.Up,
		}
		if p.Endpoint.IsValid() {
			s.Peers[i].Endpoint = p.Endpoint.String()
		}
	}
	return s
}
