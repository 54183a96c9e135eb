package control

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"anymx/edge/mail"
)

// line is a line of a status. One that is wrong stands out.
type line struct {
	Text  string
	Wrong bool
}

func plainLine(text string) []line { return []line{{Text: text}} }

// WriteText writes s as people read it, with times as seen from now. A line
// about something that is not as it should be has a mark, "!", in front. Of the
// programs beside the node only those that are configured are told of.
func (s Status) WriteText(w io.Writer, now time.Time) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s (%s), %s, anymx %s\n\n", Clean(s.Name), Clean(s.Region), Clean(s.Hostname), Clean(s.Version))
	writeRows(&b, s.rows(now))
	_, err := b.WriteTo(w)
	return err
}

// writeRows writes each row's name beside its first line.
func writeRows(b *bytes.Buffer, rows []row) {
	for _, row := range rows {
		name := row.name
		for _, l := range row.lines {
			mark := " "
			if l.Wrong {
				mark = "!"
			}
			fmt.Fprintf(b, "%-8s%s %s\n", name, mark, l.Text)
			name = ""
		}
	}
}

// row is a part of a status: its name, of at most eight characters, and its
// lines. Without lines it is not shown.
type row struct {
	name  string
	lines []line
}

func (s *Status) rows(now time.Time) []row {
	rows := []row{
		{"Phase", s.phaseText(now)},
		{"Drain", s.Drain.text(now)},
		{"Ready", s.readyText()},
		{"Degraded", s.degradedText(now)},
		{"Sessions", s.Sessions.text()},
		{"Spool", s.Spool.text()},
		{"Queue", s.Queue.text(now)},
		{"Core", coreText(s.Core, now)},
	}
	rows = append(rows, s.speakerRows(now)...)
	rows = append(rows, s.networkRows(now)...)
	return append(rows, row{"TLS", s.TLS.text(now)}, row{"Clock", s.Clock.text(now)}, row{"Config", s.Config.text(now)})
}

func (s *Status) phaseText(now time.Time) []line {
	text := Clean(string(s.Phase))
	if !s.Since.IsZero() {
		text += " for " + span(now.Sub(s.Since), true)
	}
	if !s.Started.IsZero() && s.PID != 0 {
		text += fmt.Sprintf("; process %d, started %s", s.PID, when(s.Started, now))
	}
	return plainLine(text)
}

// readyText is wrong only of a node in service: others are not ready on purpose.
func (s *Status) readyText() []line {
	if s.Ready.OK {
		return plainLine("yes")
	}
	return []line{{"no: " + Clean(s.Ready.Reason), s.Phase == Running}}
}

// maxDegraded bounds how many things of one program are told of.
const maxDegraded = 10

// degradedText has a line for each thing that a program of the node goes without;
// none where that is nothing.
func (s *Status) degradedText(now time.Time) []line {
	lines := degradedLines("", s.Degraded, now)
	if s.Speaker != nil && s.Speaker.Status != nil {
		lines = append(lines, degradedLines("anymx-bgp: ", s.Speaker.Status.Degraded, now)...)
	}
	if s.Network != nil && s.Network.Status != nil {
		lines = append(lines, degradedLines("anymx-net: ", s.Network.Status.Degraded, now)...)
	}
	return lines
}

// degradedLines tells of each thing, "metrics 192.0.2.1:9925: listen: ... (for 5m)".
func degradedLines(who string, things []DegradedThing, now time.Time) []line {
	var lines []line
	for i, t := range things {
		if i == maxDegraded {
			return append(lines, line{fmt.Sprintf("%sand %d more", who, len(things)-i), true})
		}
		text := who + Clean(t.Part+" "+t.Name+": "+t.Problem)
		if !t.Since.IsZero() {
			text += " (for " + span(now.Sub(t.Since), true) + ")"
		}
		lines = append(lines, line{text, true})
	}
	return lines
}

func (s SessionsStatus) text() []line {
	text := count(int64(s.Open)) + " open"
	if s.Limit > 0 {
		text += " of " + count(int64(s.Limit))
	}
	return plainLine(text)
}

func (s SpoolStatus) text() []line {
	messages, bytes := counted(s.Messages, "message"), size(s.Bytes)
	if s.MaxMessages > 0 {
		messages += " of " + count(s.MaxMessages)
	}
	if s.HighWater > 0 {
		bytes += " of " + size(s.HighWater)
	}
	disk := size(s.DiskFree) + " of disk free"
	if s.DiskReserve > 0 {
		disk += ", " + size(s.DiskReserve) + " kept in reserve"
	}
	lines := []line{{Text: messages + ", " + bytes}, {Text: disk}}
	if s.Problem != "" {
		lines = append(lines, line{Clean(s.Problem), true})
	}
	if s.Damaged > 0 {
		lines = append(lines, line{counted(s.Damaged, "body") + " missing or not as stored: see the log", true})
	}
	if s.Orphans > 0 {
		lines = append(lines, line{Text: counted(s.Orphans, "body file") + " without an envelope, " + size(s.OrphanBytes) + ", kept: see `anymx spool check`"})
	}
	if s.Strange > 0 {
		lines = append(lines, line{Text: counted(s.Strange, "unknown file") + " among the bodies"})
	}
	if !s.Accepting {
		lines = append(lines, line{"takes no more mail: " + Clean(s.Reason), true})
	}
	return lines
}

func (q QueueStatus) text(now time.Time) []line {
	if q.Total() == 0 && q.Paused == nil {
		return plainLine("empty")
	}
	text := fmt.Sprintf("%s active, %s waiting, %s held", count(q.Active), count(q.Waiting), count(q.Held))
	if !q.Oldest.IsZero() {
		text += "; the oldest came " + when(q.Oldest, now)
	}
	lines := plainLine(text)
	if p := q.Paused; p != nil {
		lines = append(lines, line{"delivery is paused: " + Clean(p.Cause) + p.next(now), true})
	}
	return lines
}

func (p PauseStatus) next(now time.Time) string {
	if p.Until.IsZero() {
		return ""
	}
	return "; next probe " + due(p.Until, now)
}

// due is when, for what has to happen at t: a time that has passed is "now".
func due(t, now time.Time) string {
	if !t.IsZero() && t.Before(now) {
		return "now"
	}
	return when(t, now)
}

func coreText(core []CoreStatus, now time.Time) []line {
	if len(core) == 0 {
		return plainLine("no address")
	}
	width := 0
	for _, c := range core {
		width = max(width, len(Clean(c.Address)))
	}
	indent := strings.Repeat(" ", width) + "  "
	var lines []line
	for _, c := range core {
		text := fmt.Sprintf("%-*s  %-7s  %s", width, Clean(c.Address), c.Health, counted(int64(c.Connections), "connection"))
		if c.Limit > 0 {
			text += " of " + count(int64(c.Limit))
		}
		text += ", " + count(c.Delivered) + " delivered"
		wrong := c.Health == Down || c.Health == Probing
		if c.Health != Up && !c.RetryAt.IsZero() {
			text += "; next try " + due(c.RetryAt, now)
		}
		lines = append(lines, line{text, wrong})
		if c.Health != Up && c.LastError != "" {
			lines = append(lines, line{indent + Clean(c.LastError), wrong})
		}
		if lacks := c.lacks(); len(lacks) > 0 {
			lines = append(lines, line{indent + "takes no " + strings.Join(lacks, " and no "), false})
		}
		if p := c.Probe; p != nil && p.Problem != "" {
			lines = append(lines, line{indent + p.text(now), true})
		}
	}
	return lines
}

// lacks lists what mail can need and the address does not take, as far as is known.
func (c *CoreStatus) lacks() (list []string) {
	if c.Extensions == nil {
		return nil
	}
	for _, keyword := range mail.AllExtensions.Keywords() {
		if !slices.Contains(c.Extensions, keyword) {
			list = append(list, keyword)
		}
	}
	return list
}

// text tells of a probe that failed.
func (p *ProbeStatus) text(now time.Time) string {
	return fmt.Sprintf("probe of %s %s: %s", size(int64(p.Size)), when(p.At, now), Clean(p.Problem))
}

// expirySoon is when a certificate's end is worth a warning.
const expirySoon = 14 * 24 * time.Hour

func (t *TLSStatus) text(now time.Time) []line {
	if t == nil {
		return plainLine("no certificate: STARTTLS is not offered")
	}
	lines := []line{{Clean(strings.Join(t.Names, ", ")) + "; " + t.expiry(now), t.soon(now)}}
	if t.Problem != "" {
		lines = append(lines, line{"the last reload kept the old certificate: " + Clean(t.Problem), true})
	}
	return lines
}

// soon says that the certificate ends soon, or has ended.
func (t *TLSStatus) soon(now time.Time) bool { return t.NotAfter.Sub(now) < expirySoon }

// expiry says how long the certificate is good for.
func (t *TLSStatus) expiry(now time.Time) string {
	day, left := t.NotAfter.UTC().Format("2006-01-02"), t.NotAfter.Sub(now)
	switch {
	case left <= 0:
		return "EXPIRED " + when(t.NotAfter, now) + " (" + day + ")"
	case t.soon(now):
		return "EXPIRES SOON, " + when(t.NotAfter, now) + " (" + day + ")"
	}
	return "expires " + when(t.NotAfter, now) + " (" + day + ")"
}

func (c *ConfigStatus) text(now time.Time) []line {
	if c == nil {
		return nil
	}
	text := Clean(c.File)
	if !c.Loaded.IsZero() {
		text += ", loaded " + when(c.Loaded, now)
	}
	return append(plainLine(text), c.problems("the last reload changed nothing:")...)
}

// problems tells, below what, of a reload that failed, and of what waits for a
// restart.
func (c *ConfigStatus) problems(what string) []line {
	if c == nil {
		return nil
	}
	var lines []line
	if c.Problem != "" {
		if c.Partly {
			what = "the last reload took the config, but not each file that it names:"
		}
		lines = append(lines, line{what, true})
		for problem := range strings.Lines(c.Problem) {
			lines = append(lines, line{"  " + Clean(strings.TrimSpace(problem)), true})
		}
	}
	if len(c.Restart) > 0 {
		lines = append(lines, line{"changed, but in force only after a restart: " + Clean(strings.Join(c.Restart, ", ")), true})
	}
	return lines
}
