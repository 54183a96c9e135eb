package control

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteText writes s as people read it, with times as seen from now.
func (s Status) WriteText(w io.Writer, now time.Time) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s (%s), %s, anymx %s\n\n", Clean(s.Name), Clean(s.Region), Clean(s.Hostname), Clean(s.Version))
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name string, lines ...string) {
		for i, line := range lines {
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(t, "%s\t%s\n", name, line)
		}
	}
	phase := string(s.Phase)
	if !s.Since.IsZero() {
		phase += " for " + span(now.Sub(s.Since), true)
	}
	if !s.Started.IsZero() && s.PID != 0 {
		phase += fmt.Sprintf("; process %d, started %s", s.PID, when(s.Started, now))
	}
	row("Phase", phase)
	row("Ready", s.Ready.text())
	row("Sessions", s.Sessions.text())
	row("Spool", s.Spool.text()...)
	row("Queue", s.Queue.text(now)...)
	row("Core", coreText(s.Core, now)...)
	row("TLS", s.TLS.text(now)...)
	row("Config", s.Config.text(now)...)
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := b.WriteTo(w)
	return err
}

func (r Readiness) text() string {
	if r.OK {
		return "yes"
	}
	return "no: " + Clean(r.Reason)
}

func (s SessionsStatus) text() string {
	if s.Limit == 0 {
		return count(int64(s.Open)) + " open"
	}
	return count(int64(s.Open)) + " open of " + count(int64(s.Limit))
}

func (s SpoolStatus) text() []string {
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
	lines := []string{messages + ", " + bytes, disk}
	if !s.Accepting {
		lines = append(lines, "takes no more mail: "+Clean(s.Reason))
	}
	return lines
}

func (q QueueStatus) text(now time.Time) []string {
	if q.Total() == 0 && q.Paused == nil {
		return []string{"empty"}
	}
	line := fmt.Sprintf("%s active, %s waiting, %s held", count(q.Active), count(q.Waiting), count(q.Held))
	if !q.Oldest.IsZero() {
		line += "; the oldest came " + when(q.Oldest, now)
	}
	lines := []string{line}
	if p := q.Paused; p != nil {
		lines = append(lines, "delivery is paused: "+Clean(p.Cause)+p.next(now))
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

func coreText(core []CoreStatus, now time.Time) []string {
	if len(core) == 0 {
		return []string{"no address"}
	}
	width := 0
	for _, c := range core {
		width = max(width, len(Clean(c.Address)))
	}
	var lines []string
	for _, c := range core {
		line := fmt.Sprintf("%-*s  %-7s  %s", width, Clean(c.Address), c.Health, counted(int64(c.Connections), "connection"))
		if c.Limit > 0 {
			line += " of " + count(int64(c.Limit))
		}
		line += ", " + count(c.Delivered) + " delivered"
		if c.Health != Up && !c.RetryAt.IsZero() {
			line += "; next try " + due(c.RetryAt, now)
		}
		lines = append(lines, line)
		if c.Health != Up && c.LastError != "" {
			lines = append(lines, strings.Repeat(" ", width)+"  "+Clean(c.LastError))
		}
	}
	return lines
}

// expirySoon is when a certificate's end is worth a warning.
const expirySoon = 14 * 24 * time.Hour

func (t *TLSStatus) text(now time.Time) []string {
	if t == nil {
		return []string{"no certificate: STARTTLS is not offered"}
	}
	lines := []string{Clean(strings.Join(t.Names, ", ")) + "; " + t.expiry(now)}
	if t.Problem != "" {
		lines = append(lines, "the last reload kept the old certificate: "+Clean(t.Problem))
	}
	return lines
}

// expiry says how long the certificate is good for.
func (t *TLSStatus) expiry(now time.Time) string {
	day, left := t.NotAfter.UTC().Format("2006-01-02"), t.NotAfter.Sub(now)
	switch {
	case left <= 0:
		return "EXPIRED " + when(t.NotAfter, now) + " (" + day + ")"
	case left < expirySoon:
		return "EXPIRES SOON, " + when(t.NotAfter, now) + " (" + day + ")"
	}
	return "expires " + when(t.NotAfter, now) + " (" + day + ")"
}

func (c *ConfigStatus) text(now time.Time) []string {
	if c == nil {
		return nil
	}
	line := Clean(c.File)
	if !c.Loaded.IsZero() {
		line += ", loaded " + when(c.Loaded, now)
	}
	lines := []string{line}
	if c.Problem != "" {
		lines = append(lines, "the last reload changed nothing:")
		for problem := range strings.Lines(c.Problem) {
			lines = append(lines, "  "+Clean(strings.TrimSpace(problem)))
		}
	}
	if len(c.Restart) > 0 {
		lines = append(lines, "changed, but in force only after a restart: "+Clean(strings.Join(c.Restart, ", ")))
	}
	return lines
}
