package control

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// doing says what happens during a step.
var doing = map[DrainStep]string{
	StepGraceful: "traffic moves to other nodes",
	StepWithdraw: "routers acknowledge the withdrawal",
	StepConverge: "strays are still served",
	StepSessions: "sessions end, new ones are told to come back later",
	StepFlush:    "the spool is handed over to core",
}

// text is the drain with its steps; nothing if there is none.
func (d *DrainStatus) text(now time.Time) []line {
	if d == nil {
		return nil
	}
	var lines []line
	switch {
	case d.Stopping && d.Reason != "":
		lines = plainLine(Clean(d.Reason) + "; the process ends after it")
	case d.Stopping:
		lines = plainLine("the process ends after it")
	case d.Reason != "":
		lines = plainLine(Clean(d.Reason))
	}
	if text := d.Until.text(); text != "" && !d.Stopping {
		lines = append(lines, line{Text: text})
	}
	lines = append(lines, d.stepsText(now)...)
	return append(lines, line{Text: d.leftText()})
}

// text says when a drain ends by itself; "" for one that does not.
func (u Until) text() string {
	if u == "" {
		return ""
	}
	return "until anymx-edge is started again: nothing of it is kept"
}

func (d *DrainStatus) stepsText(now time.Time) []line {
	var lines []line
	for _, step := range d.Steps {
		lines = append(lines, line{fmt.Sprintf("%-8s  %s", Clean(string(step.Step)), step.text(now)), step.Note != ""})
	}
	return lines
}

// text says how long a step takes, or took, and what was not as hoped.
func (s StepStatus) text(now time.Time) string {
	note := ""
	if s.Note != "" {
		note = ": " + Clean(s.Note)
	}
	if !s.Ended.IsZero() {
		return "took " + took(s.Ended.Sub(s.Began)) + note
	}
	text := span(now.Sub(s.Began), true)
	if s.Limit > 0 {
		text += " of at most " + span(s.Limit, true)
	}
	if does := doing[s.Step]; note == "" && does != "" {
		return text + ": " + does
	}
	return text + note
}

// underWay is the step that has not ended; nil between two steps.
func (d *DrainStatus) underWay() *StepStatus {
	if n := len(d.Steps); n > 0 && d.Steps[n-1].Ended.IsZero() {
		return &d.Steps[n-1]
	}
	return nil
}

// leftText is what is left, in one line.
func (d *DrainStatus) leftText() string {
	text := "left: " + counted(int64(d.Sessions), "session") + ", " + counted(d.Messages, "message")
	if d.Held > 0 {
		text += " (" + count(d.Held) + " held)"
	}
	if d.Peers > 0 {
		text += "; " + confirmedText(d.Confirmed, d.Peers)
	}
	return text
}

func confirmedText(confirmed, peers int) string {
	return fmt.Sprintf("%d of %s confirmed", confirmed, counted(int64(peers), "peer"))
}

// took is a length of time of which the parts of a second count: "12ms",
// "1.2s", "3m 5s".
func took(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	case d < 10*time.Second:
		return strings.TrimSuffix(strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', 1, 64), ".0") + "s"
	}
	return span(d, true)
}

// Report is how far a node is on its way out of service, or back, as people
// read it.
type Report struct {
	Step  string   // changes when the node takes a step
	Line  string   // all of it in one line
	Lines []string // the same with more room, for a screen
}

// DrainReport tells how far a node is on its way out of service.
func (s Status) DrainReport(now time.Time) Report {
	p := Report{Step: Clean(string(s.Phase)), Line: Clean(string(s.Phase))}
	d := s.Drain
	if d == nil {
		p.Lines = []string{Clean(s.Name) + " is " + Clean(string(s.Phase))}
		return p
	}
	p.Lines = []string{s.drainHead(now)}
	if text := d.Until.text(); text != "" {
		p.Lines = append(p.Lines, "  "+text)
	}
	for _, l := range d.stepsText(now) {
		p.Lines = append(p.Lines, "  "+l.Text)
	}
	p.Lines = append(p.Lines, "  "+d.leftText())
	if step := d.underWay(); step != nil {
		p.Step += " " + string(step.Step)
		p.Line += ", " + Clean(string(step.Step)) + " " + step.text(now)
	}
	p.Line += "; " + d.leftText()
	return p
}

// drainHead says that a node is draining, or drained, and for what.
func (s *Status) drainHead(now time.Time) string {
	text := Clean(s.Name) + " is " + Clean(string(s.Phase))
	d := s.Drain
	switch {
	case d.Began.IsZero():
	case s.Phase == Draining, s.Phase == Stopping:
		text += " for " + span(now.Sub(d.Began), true)
	case s.Phase == Drained:
		text += "; it took " + took(s.Since.Sub(d.Began)) + ", and ended " + when(s.Since, now)
	}
	if d.Reason != "" {
		text += ": " + Clean(d.Reason)
	}
	return text
}

// Left says, a line for each, what is missing until the node is drained: out of
// service, with nothing in its spool but messages that the operator holds. There
// is nothing left of a node that is drained.
func (s Status) Left(now time.Time) []string {
	var left []string
	d := s.Drain
	if d == nil {
		d = &DrainStatus{Sessions: s.Sessions.Open, Messages: s.Queue.Total(), Held: s.Queue.Held}
	}
	switch s.Phase {
	case Running:
		return []string{"it is in service"}
	case Drained:
	default:
		text := "it is " + Clean(string(s.Phase))
		if step := d.underWay(); step != nil {
			text += ": " + Clean(string(step.Step)) + " " + step.text(now)
		}
		left = append(left, text)
	}
	if d.Sessions > 0 && s.Phase != Drained { // who comes to a drained node hears 421 and goes
		left = append(left, "open: "+counted(int64(d.Sessions), "session"))
	}
	if trouble := s.drawing(); trouble != "" {
		left = append(left, trouble)
	}
	if waiting := d.Messages - d.Held; waiting > 0 {
		left = append(left, "not handed over to core: "+counted(waiting, "message")+s.coreTrouble())
	}
	return left
}

// drawing says why routers may still send traffic to a node that is drained; ""
// if they don't.
func (s *Status) drawing() string {
	if s.Phase != Drained || s.Speaker == nil {
		return ""
	}
	said := s.Speaker.Status
	switch {
	case s.Speaker.Problem != "":
		return "routes: the BGP speaker does not answer: " + Clean(s.Speaker.Problem)
	case said == nil:
		return "routes: the BGP speaker has not answered yet"
	case said.Routes != Withdrawn:
		return "routes: still " + Clean(string(said.Routes))
	}
	if confirmed, established := said.Confirmed(); confirmed < established {
		return "routes: " + confirmedText(confirmed, established) + " the withdrawal"
	}
	return ""
}

// coreTrouble says why core takes no messages; "" if it seems to.
func (s *Status) coreTrouble() string {
	if s.Queue.Paused != nil {
		return ", because delivery is paused: " + Clean(s.Queue.Paused.Cause)
	}
	for _, c := range s.Core {
		if c.Health == Up {
			return ""
		}
	}
	for _, c := range s.Core {
		if c.LastError != "" {
			return "; " + Clean(c.Address) + ": " + Clean(c.LastError)
		}
	}
	return ""
}
