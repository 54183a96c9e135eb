package words

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"anymx/edge/operate/api"
)

// doing describes what happens during a step.
var doing = map[api.DrainStep]string{
	api.StepGraceful: "traffic moves to other nodes",
	api.StepWithdraw: "routers acknowledge the withdrawal",
	api.StepConverge: "strays are still served",
	api.StepSessions: "sessions end, new ones are told to come back later",
	api.StepFlush:    "the spool is handed over to core",
}

// drainText returns the drain with its steps; nothing if there is none.
func drainText(d *api.DrainStatus, now time.Time) []Line {
	if d == nil {
		return nil
	}
	var lines []Line
	switch {
	case d.Stopping && d.Reason != "":
		lines = plainLine(Clean(d.Reason) + "; the process ends after it")
	case d.Stopping:
		lines = plainLine("the process ends after it")
	case d.Reason != "":
		lines = plainLine(Clean(d.Reason))
	}
	if text := untilText(d.Until); text != "" && !d.Stopping {
		lines = append(lines, Line{Text: text})
	}
	lines = append(lines, drainStepsText(d, now)...)
	return append(lines, Line{Text: DrainLeftText(d)})
}

// untilText says when a drain ends by itself; "" if it does not.
func untilText(u api.Until) string {
	if u == "" {
		return ""
	}
	return "until anymx-edge is started again: nothing of it is kept"
}

func drainStepsText(d *api.DrainStatus, now time.Time) []Line {
	var lines []Line
	for _, step := range d.Steps {
		lines = append(lines, Line{fmt.Sprintf("%-8s  %s", Clean(string(step.Step)), StepText(step, now)), step.Note != ""})
	}
	return lines
}

// StepText says how long a step takes, or took, and what went wrong.
func StepText(s api.StepStatus, now time.Time) string {
	note := ""
	if s.Note != "" {
		note = ": " + Clean(s.Note)
	}
	if !s.Ended.IsZero() {
		return "took " + took(s.Ended.Sub(s.Began)) + note
	}
	text := Span(now.Sub(s.Began), true)
	if s.Limit > 0 {
		text += " of at most " + Span(s.Limit.Duration(), true)
	}
	if does := doing[s.Step]; note == "" && does != "" {
		return text + ": " + does
	}
	return text + note
}

// stepUnderWay returns the step that has not ended; nil between two steps.
func stepUnderWay(d *api.DrainStatus) *api.StepStatus {
	if n := len(d.Steps); n > 0 && d.Steps[n-1].Ended.IsZero() {
		return &d.Steps[n-1]
	}
	return nil
}

// DrainLeftText returns what is left, in one line.
func DrainLeftText(d *api.DrainStatus) string {
	text := "left: " + counted(int64(d.Sessions), "session") + ", " + counted(d.Messages, "message")
	if d.Held > 0 {
		text += " (" + Count(d.Held) + " held)"
	}
	if d.Peers > 0 {
		text += "; " + confirmedText(d.Confirmed, d.Peers)
	}
	return text
}

func confirmedText(confirmed, peers int) string {
	return fmt.Sprintf("%d of %s confirmed", confirmed, counted(int64(peers), "peer"))
}

// took formats a length of time with fractions of a second: "12ms", "1.2s", "3m 5s".
func took(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	case d < 10*time.Second:
		return strings.TrimSuffix(strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', 1, 64), ".0") + "s"
	}
	return Span(d, true)
}

// Report is the progress of a node that leaves service or returns to it, as text for people.
type Report struct {
	Step  string   // changes when the node begins another step
	Line  string   // all of it in one line
	Lines []string // the same in several lines, for a screen
}

// DrainReport reports the progress of a drain.
func DrainReport(s api.Status, now time.Time) Report {
	p := Report{Step: Clean(string(s.Phase)), Line: Clean(string(s.Phase))}
	d := s.Drain
	if d == nil {
		p.Lines = []string{Clean(s.Name) + " is " + Clean(string(s.Phase))}
		return p
	}
	p.Lines = []string{drainHead(&s, now)}
	if text := untilText(d.Until); text != "" {
		p.Lines = append(p.Lines, "  "+text)
	}
	for _, l := range drainStepsText(d, now) {
		p.Lines = append(p.Lines, "  "+l.Text)
	}
	p.Lines = append(p.Lines, "  "+DrainLeftText(d))
	if step := stepUnderWay(d); step != nil {
		p.Step += " " + string(step.Step)
		p.Line += ", " + Clean(string(step.Step)) + " " + StepText(*step, now)
	}
	p.Line += "; " + DrainLeftText(d)
	return p
}

// drainHead says that a node is draining, or drained, and why.
func drainHead(s *api.Status, now time.Time) string {
	text := Clean(s.Name) + " is " + Clean(string(s.Phase))
	d := s.Drain
	switch {
	case d.Began.IsZero():
	case s.Phase == api.Draining, s.Phase == api.Stopping:
		text += " for " + Span(now.Sub(d.Began), true)
	case s.Phase == api.Drained:
		text += "; it took " + took(s.Since.Sub(d.Began)) + ", and ended " + When(s.Since, now)
	}
	if d.Reason != "" {
		text += ": " + Clean(d.Reason)
	}
	return text
}

// DrainLeft lists, a line for each, what is missing until the node is drained: out of service, with
// only held messages left in its spool. It returns nothing for a drained node.
func DrainLeft(s api.Status, now time.Time) []string {
	var left []string
	d := s.Drain
	if d == nil {
		d = &api.DrainStatus{Sessions: s.Sessions.Open, Messages: s.Queue.Total(), Held: s.Queue.Held}
	}
	switch s.Phase {
	case api.Running:
		return []string{"it is in service"}
	case api.Drained:
	default:
		text := "it is " + Clean(string(s.Phase))
		if step := stepUnderWay(d); step != nil {
			text += ": " + Clean(string(step.Step)) + " " + StepText(*step, now)
		}
		left = append(left, text)
	}
	if d.Sessions > 0 && s.Phase != api.Drained { // clients of a drained node get 421 and leave
		left = append(left, "open: "+counted(int64(d.Sessions), "session"))
	}
	if trouble := drainDrawing(&s); trouble != "" {
		left = append(left, trouble)
	}
	if waiting := d.Messages - d.Held; waiting > 0 {
		left = append(left, "not handed over to core: "+counted(waiting, "message")+coreTrouble(&s))
	}
	return left
}

// drainDrawing says why routers may still send traffic to a drained node; "" if they don't.
func drainDrawing(s *api.Status) string {
	if s.Phase != api.Drained || s.Speaker == nil {
		return ""
	}
	said := s.Speaker.Status
	switch {
	case s.Speaker.Problem != "":
		return "routes: the BGP speaker does not answer: " + Clean(s.Speaker.Problem)
	case said == nil:
		return "routes: the BGP speaker has not answered yet"
	case said.Routes != api.Withdrawn:
		return "routes: still " + Clean(string(said.Routes))
	}
	if confirmed, established := said.Confirmed(); confirmed < established {
		return "routes: " + confirmedText(confirmed, established) + " the withdrawal"
	}
	return ""
}

// coreTrouble says why core accepts no messages; "" if it seems to.
func coreTrouble(s *api.Status) string {
	if len(s.Queue.Paused) > 0 {
		return ", because delivery is paused: " + Clean(s.Queue.Paused[0].Cause)
	}
	up := map[string]bool{} // core groups
	for _, c := range s.Core {
		up[c.Group] = up[c.Group] || c.Health == api.Up
	}
	for _, c := range s.Core {
		if !up[c.Group] && c.LastError != "" {
			return "; " + CoreName(&c) + ": " + Clean(c.LastError)
		}
	}
	return ""
}
