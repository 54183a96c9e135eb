package words

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"anymx/edge/operate/api"
)

// WriteMachine writes s as text for people, as WriteStatus does.
func WriteMachine(w io.Writer, s api.MachineStatus, now time.Time) error {
	var b bytes.Buffer
	writeRows(&b, []row{
		{"Image", imageText(&s)},
		{"Slots", slotsText(&s)},
		{"Order", powerOrderText(s.Operation, now)},
		{"Update", updateText(s.Last, s.Image, now)},
		{"Config", machineConfigText(&s)},
		{"Trouble", wrong(s.Problem)},
	})
	_, err := b.WriteTo(w)
	return err
}

// wrong returns a line that stands out; nothing for "".
func wrong(text string) []Line {
	if text == "" {
		return nil
	}
	return []Line{{Clean(text), true}}
}

func imageText(s *api.MachineStatus) []Line {
	if s.Image == "" {
		return []Line{{"none: this machine is not an appliance, or its slots can't be read", true}}
	}
	lines := plainLine("version " + Clean(s.Image) + ", confirmed")
	if !s.Confirmed {
		lines = []Line{{"version " + Clean(s.Image) + ", not confirmed yet", true}}
		if s.UnconfirmedReason != "" {
			lines = append(lines, Line{Clean(s.UnconfirmedReason), true})
		}
	}
	if s.Next != "" && s.Next != s.Image {
		lines = append(lines, Line{Text: "the next boot takes version " + Clean(s.Next)})
	}
	return lines
}

func slotsText(s *api.MachineStatus) []Line {
	var lines []Line
	for i := range s.Slots {
		lines = append(lines, slotText(&s.Slots[i]))
	}
	return lines
}

// slotText returns a slot in one line: state, version, whether it is confirmed, boot attempts left.
func slotText(s *api.MachineSlot) Line {
	words := []string{}
	if s.Version != "" {
		words = append(words, Clean(s.Version))
		if s.Confirmed {
			words = append(words, "confirmed")
		} else {
			words = append(words, "not confirmed")
		}
	}
	switch {
	case s.Version == "":
	case s.Entry == "":
		words = append(words, "no boot entry")
	case s.BootAttemptsLeft == nil:
		words = append(words, "boots are not counted")
	case *s.BootAttemptsLeft == 0:
		words = append(words, "no boot attempts left: booted last")
	default:
		words = append(words, attemptsLeftText(*s.BootAttemptsLeft))
	}
	state := map[string]string{"whole": "other"}[s.State]
	if state == "" {
		state = Clean(s.State)
	}
	text := strings.TrimSpace(fmt.Sprintf("%-10s %s", state, strings.Join(words, ", ")))
	return Line{text, s.State == "incomplete" || s.State == "running" && s.Entry == ""}
}

func attemptsLeftText(n int) string {
	if n == 1 {
		return "1 boot attempt left"
	}
	return fmt.Sprintf("%d boot attempts left", n)
}

func powerOrderText(o *api.MachineOperation, now time.Time) []Line {
	if o == nil {
		return nil
	}
	return plainLine(fmt.Sprintf("%s, for %s: %s", Clean(o.Kind), Span(now.Sub(o.Began), true), progressLine(&o.Progress)))
}

// outcomes describes the outcomes of an update.
var outcomes = map[string]string{
	"writing": "was not written to its end", "staged": "is written and comes with the next boot",
	"booted": "runs, and is not confirmed yet", "confirmed": "is confirmed", "rolled_back": "did NOT hold: the machine came back",
}

// updateText describes an update on a machine that runs the version image.
func updateText(u *api.MachineUpdate, image string, now time.Time) []Line {
	if u == nil {
		return nil
	}
	became := outcomes[u.Outcome]
	if became == "" {
		became = Clean(u.Outcome)
	}
	if u.Outcome == "confirmed" && image == u.From {
		became = "was confirmed, and does not run: the machine was rolled back, or its slot broke"
	}
	text := fmt.Sprintf("%s, from %s, ordered %s, %s", Clean(u.Version), Clean(u.From), When(u.Staged, now), became)
	if !u.Ended.IsZero() {
		text += ", " + When(u.Ended, now)
	}
	return []Line{{text, u.Outcome == "rolled_back" || u.Outcome == "writing"}}
}

func machineConfigText(s *api.MachineStatus) []Line {
	var lines []Line
	if s.Config != "" {
		lines = plainLine("from the " + Clean(s.Config))
	}
	return append(lines, wrong(s.ConfigProblem)...)
}

// progressLine returns the progress in one line, without its step.
func progressLine(p *api.MachineProgress) string {
	if p.Total == 0 {
		return Clean(p.Text)
	}
	return fmt.Sprintf("%s of %s", Size(p.Done), Size(p.Total))
}

// barWidth is the width of a bar in characters.
const barWidth = 30

// progressBar shows how many of all bytes are done.
func progressBar(p *api.MachineProgress) string {
	full := int(min(p.Total, max(0, p.Done)) * barWidth / p.Total)
	return fmt.Sprintf("[%s%s] %3d%%  %s", strings.Repeat("#", full), strings.Repeat("-", barWidth-full),
		min(p.Total, max(0, p.Done))*100/p.Total, progressLine(p))
}

// MachineReport reports the progress of an operation that has sent these lines, in this order.
func MachineReport(said []api.MachineProgress) Report {
	var r Report
	for i := range said {
		p := &said[i]
		text := progressLine(p)
		r.Line = fmt.Sprintf("%-8s %s", Clean(string(p.Step)), text)
		r.Step = string(p.Step)
		if p.Total == 0 && p.Step != api.MachineDrain { // a drain always has a text
			r.Step += " " + p.Text
		}
		if p.Total > 0 {
			text = progressBar(p)
		}
		shown := fmt.Sprintf("%-8s %s", Clean(string(p.Step)), text)
		if n := len(r.Lines); n > 0 && said[i-1].Step == p.Step {
			r.Lines[n-1] = shown
		} else {
			r.Lines = append(r.Lines, shown)
		}
	}
	return r
}
