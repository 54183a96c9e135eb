package words

import (
	"strings"
	"time"

	"anymx/edge/operate/api"
)

// ResumeReport reports the progress of a node that returns to service, and what it waits for.
func ResumeReport(s api.Status, now time.Time) Report {
	p := Report{Step: Clean(string(s.Phase))}
	head := Clean(s.Name) + " is " + Clean(string(s.Phase))
	if s.Speaker != nil && s.Speaker.Status != nil {
		said := s.Speaker.Status
		p.Step += " " + string(said.Routes) + " " + string(said.Desired.Routes)
		if said.Health.Up {
			p.Step += " up"
		}
	}
	waits := resumeWaitsFor(&s, now)
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

// resumeWaitsFor lists, a line for each, the conditions for being in service and whether they are
// met.
func resumeWaitsFor(s *api.Status, now time.Time) []string {
	var lines []string
	if !s.Ready.OK {
		lines = append(lines, "not ready: "+Clean(s.Ready.Reason))
	}
	n := s.Speaker
	if n == nil {
		return lines
	}
	for _, l := range Silence(n, "the BGP speaker") {
		lines = append(lines, l.Text)
	}
	if n.Status == nil {
		return lines
	}
	lines = append(lines, "routes "+routesText(n.Status, now))
	lines = append(lines, healthLacks(n.Status)...)
	return append(lines, peersLine(n.Status))
}
