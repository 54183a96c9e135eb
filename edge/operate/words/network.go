package words

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"anymx/edge/operate/api"
)

// maxThings bounds how many missing addresses, rules and routes are listed.
const maxThings = 10

// networkRows describes the tunnel, the shield, and addresses, rules and routes.
func networkRows(s *api.Status, now time.Time) []row {
	n := s.Network
	if n == nil {
		return nil
	}
	network := Silence(n, "anymx-net")
	if n.Status == nil {
		return []row{{"Network", network}}
	}
	network = append(network, NetworkText(n.Status)...)
	return []row{{"Tunnel", tunnelText(n.Status.Tunnel, now)}, {"Shield", ShieldText(n.Status.Shield)}, {"Network", network}}
}

// NetworkText lists what of the config is missing in the kernel.
func NetworkText(n *api.NetworkStatus) []Line {
	missing := missingThings(n)
	text := "all " + Count(int64(len(n.Items))) + " addresses, rules and routes are in place"
	switch {
	case len(n.Items) == 0:
		text = "no address, rule or route is configured"
	case len(missing) > 0:
		text = fmt.Sprintf("%d of %d addresses, rules and routes are not as they should be", len(missing), len(n.Items))
	}
	if n.Repaired > 0 {
		text += "; repaired: " + Count(n.Repaired)
	}
	lines := []Line{{text, len(missing) > 0}}
	for i, m := range missing {
		if i == maxThings {
			lines = append(lines, Line{fmt.Sprintf("  and %d more", len(missing)-i), true})
			break
		}
		lines = append(lines, Line{"  " + m, true})
	}
	if n.Problem != "" {
		lines = append(lines, Line{Clean(n.Problem), true})
	}
	return append(lines, configProblems(n.Config, "the last reload of anymx-net changed nothing:")...)
}

// missingThings names what is missing, or differs from the config.
func missingThings(n *api.NetworkStatus) []string {
	var list []string
	for _, t := range n.Items {
		if t.Present && t.Problem == "" {
			continue
		}
		text := Clean(t.Kind + " " + t.What + " (" + t.Purpose + ")")
		if !t.Present {
			text += " is missing"
		}
		if t.Problem != "" {
			text += ": " + Clean(t.Problem)
		}
		list = append(list, text)
	}
	return list
}

// tunnelText returns the tunnel with a line for each peer; nothing if there is no tunnel.
func tunnelText(t *api.TunnelStatus, now time.Time) []Line {
	if t == nil {
		return nil
	}
	lines := TunnelSelfText(t)
	keys, ends := 0, 0
	for i := range t.Peers {
		keys = max(keys, utf8.RuneCountInString(TunnelPeerKey(&t.Peers[i])))
		ends = max(ends, utf8.RuneCountInString(TunnelPeerEndpoint(&t.Peers[i])))
	}
	for i := range t.Peers {
		p := &t.Peers[i]
		lines = append(lines, Line{fmt.Sprintf("%-*s  %-*s  %s", keys, TunnelPeerKey(p), ends, TunnelPeerEndpoint(p), tunnelPeerTraffic(p, now)), !p.Up})
	}
	return lines
}

// TunnelSelfText returns the node's own side of the tunnel.
func TunnelSelfText(t *api.TunnelStatus) []Line {
	lines := []Line{{tunnelHead(t), !t.Up}}
	if t.Problem != "" {
		lines = append(lines, Line{Clean(t.Problem), true})
	}
	if !t.Up && t.PublicKey != "" { // the peer may not have the key
		lines = append(lines, Line{"public key of this node: " + Clean(t.PublicKey), true})
	}
	return lines
}

// tunnelHead returns "wg-core is up, kernel (it has WireGuard), MTU 1420, UDP port 51820".
func tunnelHead(t *api.TunnelStatus) string {
	state := "DOWN"
	if t.Up {
		state = "up"
	}
	text := Clean(t.Interface) + " is " + state + ", " + Clean(t.Implementation)
	if t.Reason != "" {
		text += " (" + Clean(t.Reason) + ")"
	}
	if t.MTU > 0 {
		text += fmt.Sprintf(", MTU %d", t.MTU)
	}
	if t.ListenPort > 0 {
		text += fmt.Sprintf(", UDP port %d", t.ListenPort)
	}
	return text
}

// TunnelPeerKey returns enough of the public key to tell peers apart.
func TunnelPeerKey(p *api.TunnelPeer) string { return Cut(Clean(strings.TrimSpace(p.PublicKey)), 9) }

// TunnelPeerEndpoint returns the last known endpoint of the peer, or says that it is unknown.
func TunnelPeerEndpoint(p *api.TunnelPeer) string {
	if p.Endpoint == "" {
		return "endpoint not known"
	}
	return Clean(p.Endpoint)
}

// tunnelPeerTraffic returns the last handshake and the traffic in both directions.
func tunnelPeerTraffic(p *api.TunnelPeer, now time.Time) string {
	return TunnelPeerHandshake(p, now) + ", " + Size(p.Received) + " received, " + Size(p.Sent) + " sent"
}

// TunnelPeerHandshake says how long ago the last handshake with the peer was.
func TunnelPeerHandshake(p *api.TunnelPeer, now time.Time) string {
	if p.LastHandshake.IsZero() {
		return "NO HANDSHAKE yet"
	}
	return "handshake " + When(p.LastHandshake, now)
}
