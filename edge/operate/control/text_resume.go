package control

import (
	"strings"
	"time"
)

// InService says that the node accepts mail and, if it has a speaker, that the
// speaker was heard to announce it at or after since, to one router at least.
func (s Status) InService(since time.Time) bool {
	if s.Phase != Running || !s.Ready.OK {
		return false
	}
	if s.Speaker == nil {
		return true
	}
	said := s.Speaker.Status
	if said == nil || s.Speaker.Problem != "" || s.Speaker.Asked.Before(since) || said.Routes != Announced {
		return false
	}
	confirmed, _ := said.Confirmed()
	return confirmed > 0
}

// ResumeReport tells how far a node is on its way back into service, and what
// it waits for.
func (s Status) ResumeReport(now time.Time) Report {
	p := Report{Step: Clean(string(s.Phase))}
	head := Clean(s.Name) + " is " + Clean(string(s.Phase))
	if s.Speaker != nil && s.Speaker.Status != nil {
		said := s.Speaker.Status
		p.Step += " " + string(said.Routes) + " " + string(said.Order.Routes)
		if said.Health.Up {
			p.Step += " up"
		}
	}
	waits := s.waitsFor(now)
	p.Line = Clean(string(s.Phase))
	if len(waits) > 0 {
		p.Line += "; " + strings.Join(waits, "; ")
	}
	p.Lines = []string{head}
	for _, w := range waits {
		p.Lines = append(p.Lines, "  "+w)
	}
	return p
}

// waitsFor says, a line for each, how it stands with what makes a node in
// service.
func (s *Status) waitsFor(now time.Time) []string {
	var lines []string
	if !s.Ready.OK {
		lines = append(lines, "not ready: "+Clean(s.Ready.Reason))
	}
	n := s.Speaker
	if n == nil {
		return lines
	}
	for _, l := range n.silence("the BGP speaker") {
		lines = append(lines, l.Text)
	}
	if n.Status == nil {
		return lines
	}
	lines = append(lines, "routes "+n.Status.routesText(now))
	lines = append(lines, n.Status.healthLacks()...)
	return append(lines, n.Status.peersLine())
}
