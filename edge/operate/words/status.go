package words

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"anymx/edge/mail"
	"anymx/edge/operate/api"
)

// Line is a line of a status. A wrong one stands out.
type Line struct {
	Text  string
	Wrong bool
}

func plainLine(text string) []Line { return []Line{{Text: text}} }

// WriteStatus writes s as text for people, with times relative to now. A line about a problem
// begins with a mark, "!". Of the programs beside the node it shows only the configured ones.
func WriteStatus(w io.Writer, s api.Status, now time.Time) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s (%s), %s, anymx %s\n\n", Clean(s.Name), Clean(s.Region), Clean(s.Hostname), Clean(s.Version))
	writeRows(&b, statusRows(&s, now))
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

// row is a part of a status: its name, of at most eight characters, and its lines. It is omitted if
// it has no lines.
type row struct {
	name  string
	lines []Line
}

func statusRows(s *api.Status, now time.Time) []row {
	rows := []row{
		{"Phase", phaseText(s, now)},
		{"Drain", drainText(s.Drain, now)},
		{"Ready", readyText(s)},
		{"Degraded", DegradedText(s, now)},
		{"Sessions", sessionsText(s.Sessions)},
		{"Spool", spoolText(s.Spool)},
		{"Queue", queueText(s.Queue, now)},
		{"Core", coreText(s.Core, now)},
	}
	rows = append(rows, speakerRows(s, now)...)
	rows = append(rows, networkRows(s, now)...)
	return append(rows, row{"TLS", tlsText(s.TLS, now)}, row{"Clock", clockText(s.Clock, now)}, row{"Config", configText(s.Config, now)})
}

func phaseText(s *api.Status, now time.Time) []Line {
	text := Clean(string(s.Phase))
	if !s.Since.IsZero() {
		text += " for " + Span(now.Sub(s.Since), true)
	}
	if !s.Started.IsZero() && s.PID != 0 {
		text += fmt.Sprintf("; process %d, started %s", s.PID, When(s.Started, now))
	}
	return plainLine(text)
}

// readyText returns the readiness. It is wrong only for a node in service: others are not ready on
// purpose.
func readyText(s *api.Status) []Line {
	if s.Ready.OK {
		return plainLine("yes")
	}
	return []Line{{"no: " + Clean(s.Ready.Reason), s.Phase == api.Running}}
}

// maxDegraded bounds how many degradations of one program are listed.
const maxDegraded = 10

// DegradedText returns a line for each thing that a program of the node runs without.
func DegradedText(s *api.Status, now time.Time) []Line {
	lines := degradedLines("", s.Degraded, now)
	if s.Speaker != nil && s.Speaker.Status != nil {
		lines = append(lines, degradedLines("anymx-bgp: ", s.Speaker.Status.Degraded, now)...)
	}
	if s.Network != nil && s.Network.Status != nil {
		lines = append(lines, degradedLines("anymx-net: ", s.Network.Status.Degraded, now)...)
	}
	return lines
}

// degradedLines describes each degradation, "metrics 192.0.2.1:9925: listen: ... (for 5m)".
func degradedLines(who string, things []api.Degradation, now time.Time) []Line {
	var lines []Line
	for i, t := range things {
		if i == maxDegraded {
			return append(lines, Line{fmt.Sprintf("%sand %d more", who, len(things)-i), true})
		}
		text := who + Clean(t.Part+" "+t.Name+": "+t.Problem)
		if !t.Since.IsZero() {
			text += " (for " + Span(now.Sub(t.Since), true) + ")"
		}
		lines = append(lines, Line{text, true})
	}
	return lines
}

func sessionsText(s api.SessionsStatus) []Line {
	text := Count(int64(s.Open)) + " open"
	if s.Limit > 0 {
		text += " of " + Count(int64(s.Limit))
	}
	return plainLine(text)
}

func spoolText(s api.SpoolStatus) []Line {
	messages, bytes := counted(s.Messages, "message"), Size(s.Bytes)
	if s.MaxMessages > 0 {
		messages += " of " + Count(s.MaxMessages)
	}
	if s.HighWater > 0 {
		bytes += " of " + Size(s.HighWater)
	}
	disk := Size(s.DiskFree) + " of disk free"
	if s.DiskReserve > 0 {
		disk += ", " + Size(s.DiskReserve) + " kept in reserve"
	}
	lines := []Line{{Text: messages + ", " + bytes}, {Text: disk}}
	if s.Problem != "" {
		lines = append(lines, Line{Clean(s.Problem), true})
	}
	if s.Damaged > 0 {
		lines = append(lines, Line{counted(s.Damaged, "body") + " missing or not as stored: see the log", true})
	}
	if s.Orphans > 0 {
		lines = append(lines, Line{Text: counted(s.Orphans, "body file") + " without an envelope, " + Size(s.OrphanBytes) + ", kept: see `anymx spool check`"})
	}
	if s.UnknownFiles > 0 {
		lines = append(lines, Line{Text: counted(s.UnknownFiles, "unknown file") + " among the bodies"})
	}
	if !s.Accepting {
		lines = append(lines, Line{"takes no more mail: " + Clean(s.Reason), true})
	}
	return lines
}

func queueText(q api.QueueStatus, now time.Time) []Line {
	if q.Total() == 0 && len(q.Paused) == 0 {
		return plainLine("empty")
	}
	text := fmt.Sprintf("%s active, %s waiting, %s held", Count(q.Active), Count(q.Waiting), Count(q.Held))
	if !q.Oldest.IsZero() {
		text += "; the oldest came " + When(q.Oldest, now)
	}
	lines := plainLine(text)
	for i, p := range q.Paused {
		if i == shownPauses {
			lines = append(lines, Line{fmt.Sprintf("and %d more destinations can't be reached", len(q.Paused)-i), true})
			break
		}
		lines = append(lines, Line{pauseText(p) + nextProbe(p, now), true})
	}
	return lines
}

// shownPauses is how many destinations that can't be reached a status names.
const shownPauses = 5

// pauseText returns why a destination gets nothing.
func pauseText(p api.PauseStatus) string {
	if p.Destination == "" {
		return "delivery is paused: " + Clean(p.Cause)
	}
	return fmt.Sprintf("delivery to %s is paused, %s wait: %s", Clean(p.Destination), Messages(p.Legs), Clean(p.Cause))
}

func nextProbe(p api.PauseStatus, now time.Time) string {
	if p.Until.IsZero() {
		return ""
	}
	return "; next probe " + Due(p.Until, now)
}

// Due formats the time of a scheduled event: a past time is "now".
func Due(t, now time.Time) string {
	if !t.IsZero() && t.Before(now) {
		return "now"
	}
	return When(t, now)
}

func coreText(core []api.CoreStatus, now time.Time) []Line {
	if len(core) == 0 {
		return plainLine("no address")
	}
	width := 0
	for _, c := range core {
		width = max(width, len(CoreName(&c)))
	}
	indent := strings.Repeat(" ", width) + "  "
	var lines []Line
	for _, c := range core {
		text := fmt.Sprintf("%-*s  %-7s  %s", width, CoreName(&c), c.Health, counted(int64(c.Connections), "connection"))
		if c.Limit > 0 {
			text += " of " + Count(int64(c.Limit))
		}
		text += ", " + Count(c.Delivered) + " delivered"
		wrong := c.Health == api.Down || c.Health == api.Probing
		if c.Health != api.Up && !c.RetryAt.IsZero() {
			text += "; next attempt " + Due(c.RetryAt, now)
		}
		lines = append(lines, Line{text, wrong})
		if c.Health != api.Up && c.LastError != "" {
			lines = append(lines, Line{indent + Clean(c.LastError), wrong})
		}
		if lacks := coreLacks(&c); len(lacks) > 0 {
			lines = append(lines, Line{indent + "takes no " + strings.Join(lacks, " and no "), false})
		}
		if p := c.Probe; p != nil && p.Problem != "" {
			lines = append(lines, Line{indent + ProbeText(p, now), true})
		}
	}
	return lines
}

// CoreName returns the address of core, after the name of its core group if it has one.
func CoreName(c *api.CoreStatus) string {
	if c.Group == "" {
		return Clean(c.Address)
	}
	return Clean(c.Group) + " " + Clean(c.Address)
}

// coreLacks lists the extensions that mail can need and the address does not support, as far as is
// known.
func coreLacks(c *api.CoreStatus) (list []string) {
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

// ProbeText describes a failed probe.
func ProbeText(p *api.ProbeStatus, now time.Time) string {
	return fmt.Sprintf("probe of %s %s: %s", Size(int64(p.Size)), When(p.At, now), Clean(p.Problem))
}

// expirySoon is how long before its end a certificate causes a warning.
const expirySoon = 14 * 24 * time.Hour

func tlsText(t *api.TLSStatus, now time.Time) []Line {
	if t == nil {
		return plainLine("no certificate: STARTTLS is not offered")
	}
	lines := []Line{{Clean(strings.Join(t.Names, ", ")) + "; " + ExpiryText(t, now), ExpiresSoon(t, now)}}
	if t.Problem != "" {
		lines = append(lines, Line{"the last reload kept the old certificate: " + Clean(t.Problem), true})
	}
	return lines
}

// ExpiresSoon reports whether the certificate expires soon, or has expired.
func ExpiresSoon(t *api.TLSStatus, now time.Time) bool { return t.NotAfter.Sub(now) < expirySoon }

// expiryText says how long the certificate is valid.
func ExpiryText(t *api.TLSStatus, now time.Time) string {
	day, left := t.NotAfter.UTC().Format("2006-01-02"), t.NotAfter.Sub(now)
	switch {
	case left <= 0:
		return "EXPIRED " + When(t.NotAfter, now) + " (" + day + ")"
	case ExpiresSoon(t, now):
		return "EXPIRES SOON, " + When(t.NotAfter, now) + " (" + day + ")"
	}
	return "expires " + When(t.NotAfter, now) + " (" + day + ")"
}

func configText(c *api.ConfigStatus, now time.Time) []Line {
	if c == nil {
		return nil
	}
	text := Clean(c.File)
	if !c.Loaded.IsZero() {
		text += ", loaded " + When(c.Loaded, now)
	}
	return append(plainLine(text), configProblems(c, "the last reload changed nothing:")...)
}

// configProblems describes a failed reload, and the keys that wait for a restart. what names the
// config.
func configProblems(c *api.ConfigStatus, what string) []Line {
	if c == nil {
		return nil
	}
	var lines []Line
	if c.Problem != "" {
		if c.Partly {
			what = "the last reload took the config, but not each file that it names:"
		}
		lines = append(lines, Line{what, true})
		for problem := range strings.Lines(c.Problem) {
			lines = append(lines, Line{"  " + Clean(strings.TrimSpace(problem)), true})
		}
	}
	if len(c.Restart) > 0 {
		lines = append(lines, Line{"changed, but in force only after a restart: " + Clean(strings.Join(c.Restart, ", ")), true})
	}
	return lines
}
