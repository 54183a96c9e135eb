package words

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"anymx/edge/operate/api"
)

// WriteShieldTop writes both lists of prefixes, with times relative to now.
func WriteShieldTop(w io.Writer, t api.ShieldTop, now time.Time) error {
	var b bytes.Buffer
	width := len("PREFIX")
	for _, n := range t.Noisy {
		width = max(width, len(n.Prefix.String()))
	}
	for _, o := range t.Openers {
		width = max(width, len(o.Prefix.String()))
	}
	b.WriteString("Dropped or answered, as a sample says. Addresses can be forged: this need not be who sent it.\n")
	if len(t.Noisy) == 0 {
		b.WriteString("none\n")
	} else {
		fmt.Fprintf(&b, "%-*s  %15s  %9s  %-8s  %s\n", width, "PREFIX", "PACKETS", "SIZE", "SEEN", "LAST VERDICT")
	}
	for _, n := range t.Noisy {
		fmt.Fprintf(&b, "%-*s  %15s  %9s  %-8s  %s\n", width, n.Prefix, many(n.Packets), Size(signed(n.Bytes)), When(n.Seen, now), Clean(n.Last))
	}
	b.WriteString("\nNew connections, of prefixes that have proved their address.\n")
	if len(t.Openers) == 0 {
		b.WriteString("none\n")
	} else {
		fmt.Fprintf(&b, "%-*s  %15s  %-8s  %s\n", width, "PREFIX", "CONNECTIONS", "SEEN", "NOW")
	}
	for _, o := range t.Openers {
		state := "below its rate"
		if o.Limited {
			state = "LIMITED"
		}
		fmt.Fprintf(&b, "%-*s  %15s  %-8s  %s\n", width, o.Prefix, many(o.Connections), When(o.Seen, now), state)
	}
	_, err := b.WriteTo(w)
	return err
}

// ShieldEntryText returns "192.0.2.0/24 is blocked for good: scans".
func ShieldEntryText(e api.ShieldEntry) string {
	text := e.Prefix.String() + " is " + e.List()
	if e.Until.IsZero() {
		text += " for good"
	} else {
		text += " until " + e.Until.Format("2006-01-02 15:04:05 MST")
	}
	if e.Reason != "" {
		text += ": " + Clean(e.Reason)
	}
	return text
}

// WriteShieldLists writes the lists as a table, with times relative to now.
func WriteShieldLists(w io.Writer, l api.ShieldLists, now time.Time) error {
	if len(l.Entries) == 0 {
		_, err := io.WriteString(w, "no prefix is listed\n")
		return err
	}
	ends := func(e api.ShieldEntry) string {
		if e.Until.IsZero() {
			return "never"
		}
		return Due(e.Until, now)
	}
	prefix, source := len("PREFIX"), len("SOURCE")
	for _, e := range l.Entries {
		prefix, source = max(prefix, len(e.Prefix.String())), max(source, utf8.RuneCountInString(Clean(e.Source)))
	}
	b := bufio.NewWriter(w)
	write := func(cells ...any) {
		text := fmt.Sprintf("%-*s  %-7s  %-7s  %-*s  %s", append([]any{prefix, cells[0], cells[1], cells[2], source}, cells[3:]...)...)
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	write("PREFIX", "LIST", "ENDS", "SOURCE", "REASON")
	for _, e := range l.Entries {
		write(e.Prefix, e.List(), ends(e), Clean(e.Source), Clean(e.Reason))
	}
	return b.Flush()
}

// CompletePrefixes returns the prefixes that a shell offers for the text typed so far, each with
// its list and reason after a tab. It omits those that were already given.
func CompletePrefixes(l api.ShieldLists, given []string, typed string) []string {
	var texts []string
	for _, e := range l.Entries {
		text := e.Prefix.String()
		if !strings.HasPrefix(text, typed) || slices.Contains(given, text) {
			continue
		}
		text += "\t" + e.List()
		if e.Reason != "" {
			text += ": " + Clean(e.Reason)
		}
		texts = append(texts, text)
	}
	return texts
}
