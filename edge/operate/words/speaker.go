package words

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"anymx/edge/operate/api"
)

// Silence describes a program, named by what, that did not answer.
func Silence[T any](n *api.Neighbour[T], what string) []Line {
	switch {
	case n.Problem != "" && n.Status != nil:
		return []Line{{Clean(n.Problem), true}, {"what follows is what " + what + " said before", true}}
	case n.Problem != "":
		return []Line{{Clean(n.Problem), true}}
	case n.Status == nil:
		return plainLine(what + " has not been asked yet")
	}
	return nil
}

// speakerRows describes what is announced, to whom, and the node's health as the speaker sees it.
func speakerRows(s *api.Status, now time.Time) []row {
	n := s.Speaker
	if n == nil {
		return nil
	}
	routes := Silence(n, "the BGP speaker")
	if n.Status == nil {
		return []row{{"Routes", routes}}
	}
	said := n.Status
	routes = append(routes, Line{routesText(said, now), RoutesWrong(s)})
	routes = append(routes, RoutesDetail(s)...)
	return []row{{"Routes", routes}, {"Peers", peersText(said, now)}, {"Health", SpeakerHealthText(&said.Health, now)}}
}

// RoutesDetail returns the lines below what is announced and why.
func RoutesDetail(s *api.Status) []Line {
	said := s.Speaker.Status
	var lines []Line
	if len(said.Prefixes) > 0 {
		lines = plainLine(prefixList(said.Prefixes))
	}
	if s.Phase == api.Running && said.Desired.Keep && said.Desired.Routes != api.Announced {
		lines = append(lines, Line{"`anymx resume` ends the command that keeps them so", true})
	}
	return append(lines, configProblems(said.Config, "the last reload of the BGP speaker changed nothing:")...)
}

// RoutesWrong reports whether the announcement does not fit the node's phase.
func RoutesWrong(s *api.Status) bool {
	switch routes := s.Speaker.Status.Routes; s.Phase {
	case api.Running:
		return routes != api.Announced
	case api.Drained:
		return routes != api.Withdrawn
	}
	return false
}

// routesText returns "announced for 3d 4h: healthy".
func routesText(s *api.SpeakerStatus, now time.Time) string {
	return Clean(string(s.Routes)) + RoutesForText(s, now)
}

// RoutesForText returns " for 3d 4h: healthy".
func RoutesForText(s *api.SpeakerStatus, now time.Time) (text string) {
	if !s.Since.IsZero() {
		text = " for " + Span(now.Sub(s.Since), true)
	}
	if s.Reason != "" {
		text += ": " + Clean(s.Reason)
	}
	return text
}

func prefixList(prefixes []netip.Prefix) string {
	var words []string
	for _, p := range prefixes {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

// peersLine returns the peers in one line.
func peersLine(s *api.SpeakerStatus) string {
	confirmed, established := s.Confirmed()
	if established == 0 {
		return "none of " + counted(int64(len(s.Peers)), "peer") + " has a session"
	}
	return fmt.Sprintf("sessions with %d of %s; %d confirmed", established, counted(int64(len(s.Peers)), "peer"), confirmed)
}

// peersText returns a line for each peer, and another one for its last problem.
func peersText(s *api.SpeakerStatus, now time.Time) []Line {
	if len(s.Peers) == 0 {
		return []Line{{"none", true}}
	}
	width, asnWidth := 0, 0
	for i := range s.Peers {
		width = max(width, len(s.Peers[i].Address.String()))
		asnWidth = max(asnWidth, len(PeerASN(&s.Peers[i])))
	}
	var lines []Line
	for i := range s.Peers {
		p := &s.Peers[i]
		text := fmt.Sprintf("%-*s  %-*s  %s", width, p.Address, asnWidth, PeerASN(p), PeerStateText(p, now))
		lines = append(lines, Line{text, !PeerConfirmed(p)})
		if trouble := PeerTrouble(p, now); trouble != "" {
			lines = append(lines, Line{strings.Repeat(" ", width+asnWidth+4) + trouble, !PeerConfirmed(p)})
		}
	}
	return lines
}

// PeerASN returns the router's AS number as "AS64496".
func PeerASN(p *api.SpeakerPeer) string { return "AS" + strconv.FormatUint(uint64(p.ASN), 10) }

// peerEstablished reports whether there is a session.
func peerEstablished(p *api.SpeakerPeer) bool { return p.State == "Established" }

// PeerConfirmed reports whether the peer has acknowledged its current routes.
func PeerConfirmed(p *api.SpeakerPeer) bool { return peerEstablished(p) && p.Confirmed }

// PeerStateText returns "Established for 3d 4h, confirmed".
func PeerStateText(p *api.SpeakerPeer, now time.Time) string {
	text := Clean(p.State)
	if !p.Since.IsZero() {
		text += " for " + Span(now.Sub(p.Since), true)
	}
	switch {
	case !peerEstablished(p):
		return text + ", no session"
	case !p.Confirmed:
		return text + ", NOT confirmed"
	}
	return text + ", confirmed"
}

// PeerTrouble returns why there is no session, and the last notification.
func PeerTrouble(p *api.SpeakerPeer, now time.Time) string {
	var parts []string
	if !peerEstablished(p) && p.LastError != "" {
		parts = append(parts, Clean(p.LastError)+ago(p.LastErrorAt, now))
	}
	if p.LastNotification != "" {
		parts = append(parts, "last notification"+ago(p.LastNotificationAt, now)+": "+Clean(p.LastNotification))
	}
	return strings.Join(parts, "; ")
}

// ago returns " (3m ago)", or nothing for the zero time.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " (" + When(t, now) + ")"
}

// SpeakerHealthText returns the verdict and, below it, the failing checks.
func SpeakerHealthText(h *api.SpeakerHealth, now time.Time) []Line {
	text := "down"
	if h.Up {
		text = "up"
	}
	if !h.Since.IsZero() {
		text += " for " + Span(now.Sub(h.Since), true)
	}
	failing := failingChecks(h)
	decides := slices.ContainsFunc(failing, func(l Line) bool { return l.Wrong })
	if h.Reason != "" && !decides {
		text += ": " + Clean(h.Reason)
	}
	return append([]Line{{text, !h.Up}}, failing...)
}

// healthLacks lists, for the lines below what is announced, what the node's health still lacks.
func healthLacks(s *api.SpeakerStatus) []string {
	h := &s.Health
	if h.Up {
		return nil
	}
	var lines []string
	for _, l := range failingChecks(h) {
		if l.Wrong && !strings.Contains(Clean(s.Reason), l.Text) { // it decides, and was not shown above
			lines = append(lines, "fails: "+l.Text)
		}
	}
	if len(lines) == 0 && h.Reason != "" && !strings.Contains(s.Reason, h.Reason) {
		lines = append(lines, "not healthy: "+Clean(h.Reason))
	}
	return lines
}

// failingChecks returns a line for each failing check. Those that decide are wrong.
func failingChecks(h *api.SpeakerHealth) []Line {
	var lines []Line
	for _, c := range h.Checks {
		if c.OK {
			continue
		}
		text := Clean(c.Name)
		if c.Reason != "" {
			text += ": " + Clean(c.Reason)
		}
		if c.Information {
			text += " (for information)"
		}
		lines = append(lines, Line{text, !c.Information})
	}
	return lines
}

// SpeakerReport describes what the speaker announces and to whom, for use while the node itself
// does not answer.
func SpeakerReport(s api.SpeakerStatus, now time.Time) Report {
	head := "routes " + routesText(&s, now)
	r := Report{Step: string(s.Routes), Line: head + "; " + peersLine(&s), Lines: []string{head}}
	r.Lines = append(r.Lines, healthLacks(&s)...)
	r.Lines = append(r.Lines, peersLine(&s))
	for _, l := range peersText(&s, now) {
		r.Lines = append(r.Lines, "  "+l.Text)
	}
	return r
}
