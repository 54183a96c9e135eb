package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// silence tells of a program, what, that did not answer.
func (n *Neighbour[T]) silence(what string) []line {
	switch {
	case n.Problem != "" && n.Status != nil:
		return []line{{Clean(n.Problem), true}, {"what follows is what " + what + " said before", true}}
	case n.Problem != "":
		return []line{{Clean(n.Problem), true}}
	case n.Status == nil:
		return plainLine(what + " has not been asked yet")
	}
	return nil
}

// speakerRows tell what is announced, to whom, and how healthy the speaker thinks
// the node is.
func (s *Status) speakerRows(now time.Time) []row {
	n := s.Speaker
	if n == nil {
		return nil
	}
	routes := n.silence("the BGP speaker")
	if n.Status == nil {
		return []row{{"Routes", routes}}
	}
	said := n.Status
	routes = append(routes, line{said.routesText(now), s.routesWrong()})
	routes = append(routes, s.routesDetail()...)
	return []row{{"Routes", routes}, {"Peers", said.peersText(now)}, {"Health", said.Health.text(now)}}
}

// routesDetail is what stands below what is announced and why.
func (s *Status) routesDetail() []line {
	said := s.Speaker.Status
	var lines []line
	if len(said.Prefixes) > 0 {
		lines = plainLine(prefixList(said.Prefixes))
	}
	if s.Phase == Running && said.Order.Keep && said.Order.Routes != Announced {
		lines = append(lines, line{"`anymx resume` takes the order back that keeps them so", true})
	}
	return append(lines, said.Config.problems("the last reload of the BGP speaker changed nothing:")...)
}

// routesWrong says that what is announced is not what the node's phase is for.
func (s *Status) routesWrong() bool {
	switch routes := s.Speaker.Status.Routes; s.Phase {
	case Running:
		return routes != Announced
	case Drained:
		return routes != Withdrawn
	}
	return false
}

// routesText is "announced for 3d 4h: healthy".
func (s *SpeakerStatus) routesText(now time.Time) string {
	return Clean(string(s.Routes)) + s.forText(now)
}

// forText is " for 3d 4h: healthy".
func (s *SpeakerStatus) forText(now time.Time) (text string) {
	if !s.Since.IsZero() {
		text = " for " + span(now.Sub(s.Since), true)
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

// peersLine is the peers in one line.
func (s *SpeakerStatus) peersLine() string {
	confirmed, established := s.Confirmed()
	if established == 0 {
		return "none of " + counted(int64(len(s.Peers)), "peer") + " has a session"
	}
	return fmt.Sprintf("sessions with %d of %s; %d confirmed", established, counted(int64(len(s.Peers)), "peer"), confirmed)
}

// peersText has a line for each peer, and one more for what it last complained
// of.
func (s *SpeakerStatus) peersText(now time.Time) []line {
	if len(s.Peers) == 0 {
		return []line{{"none", true}}
	}
	width, asnWidth := 0, 0
	for i := range s.Peers {
		width = max(width, len(s.Peers[i].Address.String()))
		asnWidth = max(asnWidth, len(s.Peers[i].as()))
	}
	var lines []line
	for i := range s.Peers {
		p := &s.Peers[i]
		text := fmt.Sprintf("%-*s  %-*s  %s", width, p.Address, asnWidth, p.as(), p.stateText(now))
		lines = append(lines, line{text, !p.well()})
		if trouble := p.trouble(now); trouble != "" {
			lines = append(lines, line{strings.Repeat(" ", width+asnWidth+4) + trouble, !p.well()})
		}
	}
	return lines
}

func (p *SpeakerPeer) as() string { return "AS" + strconv.FormatUint(uint64(p.ASN), 10) }

// established says that there is a session.
func (p *SpeakerPeer) established() bool { return p.State == "Established" }

// well says that the peer knows what it is to know.
func (p *SpeakerPeer) well() bool { return p.established() && p.Confirmed }

// stateText is "Established for 3d 4h, confirmed".
func (p *SpeakerPeer) stateText(now time.Time) string {
	text := Clean(p.State)
	if !p.Since.IsZero() {
		text += " for " + span(now.Sub(p.Since), true)
	}
	switch {
	case !p.established():
		return text + ", no session"
	case !p.Confirmed:
		return text + ", NOT confirmed"
	}
	return text + ", confirmed"
}

// trouble is why there is no session, and the last notification.
func (p *SpeakerPeer) trouble(now time.Time) string {
	var parts []string
	if !p.established() && p.LastError != "" {
		parts = append(parts, Clean(p.LastError)+ago(p.LastErrorAt, now))
	}
	if p.LastNotification != "" {
		parts = append(parts, "last notification"+ago(p.LastNotificationAt, now)+": "+Clean(p.LastNotification))
	}
	return strings.Join(parts, "; ")
}

// ago is " (3m ago)", or nothing for the zero time.
func ago(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " (" + when(t, now) + ")"
}

// text is the verdict and, below it, the checks that fail.
func (h *SpeakerHealth) text(now time.Time) []line {
	text := "down"
	if h.Up {
		text = "up"
	}
	if !h.Since.IsZero() {
		text += " for " + span(now.Sub(h.Since), true)
	}
	failing := h.failing()
	decides := slices.ContainsFunc(failing, func(l line) bool { return l.Wrong })
	if h.Reason != "" && !decides {
		text += ": " + Clean(h.Reason)
	}
	return append([]line{{text, !h.Up}}, failing...)
}

// healthLacks says, below what is announced and why, what the node's health still
// lacks.
func (s *SpeakerStatus) healthLacks() []string {
	h := &s.Health
	if h.Up {
		return nil
	}
	var lines []string
	for _, l := range h.failing() {
		if l.Wrong && !strings.Contains(Clean(s.Reason), l.Text) { // it decides, and was not said above
			lines = append(lines, "fails: "+l.Text)
		}
	}
	if len(lines) == 0 && h.Reason != "" && !strings.Contains(s.Reason, h.Reason) {
		lines = append(lines, "not healthy: "+Clean(h.Reason))
	}
	return lines
}

// failing has a line for each check that fails. Those that decide are wrong.
func (h *SpeakerHealth) failing() []line {
	var lines []line
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
		lines = append(lines, line{text, !c.Information})
	}
	return lines
}

// Report tells what the speaker announces and to whom, for where the node itself
// does not answer.
func (s SpeakerStatus) Report(now time.Time) Report {
	head := "routes " + s.routesText(now)
	r := Report{Step: string(s.Routes), Line: head + "; " + s.peersLine(), Lines: []string{head}}
	r.Lines = append(r.Lines, s.healthLacks()...)
	r.Lines = append(r.Lines, s.peersLine())
	for _, l := range s.peersText(now) {
		r.Lines = append(r.Lines, "  "+l.Text)
	}
	return r
}
