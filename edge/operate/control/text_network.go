package control

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// maxThings bounds how many addresses, rules and routes that are missing are
// told of.
const maxThings = 10

// networkRows tell of the tunnel, of the shield, and of addresses, rules and routes.
func (s *Status) networkRows(now time.Time) []row {
	n := s.Network
	if n == nil {
		return nil
	}
	network := n.silence("anymx-net")
	if n.Status == nil {
		return []row{{"Network", network}}
	}
	network = append(network, n.Status.text()...)
	return []row{{"Tunnel", n.Status.Tunnel.text(now)}, {"Shield", n.Status.Shield.text()}, {"Network", network}}
}

// text tells what of the config is not in the kernel.
func (n *NetworkStatus) text() []line {
	missing := n.missing()
	text := "all " + count(int64(len(n.Things))) + " addresses, rules and routes are in place"
	switch {
	case len(n.Things) == 0:
		text = "no address, rule or route is configured"
	case len(missing) > 0:
		text = fmt.Sprintf("%d of %d addresses, rules and routes are not as they should be", len(missing), len(n.Things))
	}
	if n.Repaired > 0 {
		text += "; repaired: " + count(n.Repaired)
	}
	lines := []line{{text, len(missing) > 0}}
	for i, m := range missing {
		if i == maxThings {
			lines = append(lines, line{fmt.Sprintf("  and %d more", len(missing)-i), true})
			break
		}
		lines = append(lines, line{"  " + m, true})
	}
	if n.Problem != "" {
		lines = append(lines, line{Clean(n.Problem), true})
	}
	return append(lines, n.Config.problems("the last reload of anymx-net changed nothing:")...)
}

// missing names what is not there, or not as it should be.
func (n *NetworkStatus) missing() []string {
	var list []string
	for _, t := range n.Things {
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

// text is the tunnel with a line for each peer; nothing if there is none.
func (t *TunnelStatus) text(now time.Time) []line {
	if t == nil {
		return nil
	}
	lines := t.selfText()
	keys, ends := 0, 0
	for i := range t.Peers {
		keys = max(keys, utf8.RuneCountInString(t.Peers[i].key()))
		ends = max(ends, utf8.RuneCountInString(t.Peers[i].endpoint()))
	}
	for i := range t.Peers {
		p := &t.Peers[i]
		lines = append(lines, line{fmt.Sprintf("%-*s  %-*s  %s", keys, p.key(), ends, p.endpoint(), p.traffic(now)), !p.Up})
	}
	return lines
}

// selfText is the node's own side of the tunnel.
func (t *TunnelStatus) selfText() []line {
	lines := []line{{t.head(), !t.Up}}
	if t.Problem != "" {
		lines = append(lines, line{Clean(t.Problem), true})
	}
	if !t.Up && t.PublicKey != "" { // the far end may not know it
		lines = append(lines, line{"public key of this node: " + Clean(t.PublicKey), true})
	}
	return lines
}

// head is "wg-core is up, kernel (it has WireGuard), MTU 1420, UDP port 51820".
func (t *TunnelStatus) head() string {
	state := "DOWN"
	if t.Up {
		state = "up"
	}
	text := Clean(t.Interface) + " is " + state + ", " + Clean(t.Implementation)
	if t.Why != "" {
		text += " (" + Clean(t.Why) + ")"
	}
	if t.MTU > 0 {
		text += fmt.Sprintf(", MTU %d", t.MTU)
	}
	if t.ListenPort > 0 {
		text += fmt.Sprintf(", UDP port %d", t.ListenPort)
	}
	return text
}

// key is as much of the public key as tells peers apart.
func (p *TunnelFarSide) key() string { return cut(Clean(strings.TrimSpace(p.PublicKey)), 9) }

func (p *TunnelFarSide) endpoint() string {
	if p.Endpoint == "" {
		return "endpoint not known"
	}
	return Clean(p.Endpoint)
}

// traffic is the last handshake and what was sent and received.
func (p *TunnelFarSide) traffic(now time.Time) string {
	return p.handshake(now) + ", " + size(p.Received) + " received, " + size(p.Sent) + " sent"
}

func (p *TunnelFarSide) handshake(now time.Time) string {
	if p.LastHandshake.IsZero() {
		return "NO HANDSHAKE yet"
	}
	return "handshake " + when(p.LastHandshake, now)
}
