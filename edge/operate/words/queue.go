package words

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"anymx/edge/operate/api"
)

// queueRow is a row of a list. Columns with bounded text come first and have a fixed width, so that
// each row can be written when it arrives.
const queueRow = "%-16s  %-8s  %9s  %-7s  %5s  %-8s  %-28s  %-28s  %s\n"

const addressWidth = 28

// WriteQueueHeader writes the column names of WriteQueueItem.
func WriteQueueHeader(w io.Writer) error {
	return writeRow(w, "ID", "ARRIVED", "SIZE", "STATE", "TRIES", "NEXT", "SENDER", "RECIPIENT", "REASON")
}

// WriteQueueItem writes the message as a row of a list, with times relative to now.
func WriteQueueItem(w io.Writer, m api.QueueItem, now time.Time) error {
	next := "-"
	if m.State == api.Waiting {
		next = Due(m.NextAttempt, now)
	}
	reason := m.LastFailure
	if reason == "" {
		reason = m.Waits
	}
	if m.State == api.Held && m.HoldReason != "" {
		reason = "held: " + m.HoldReason
	}
	return writeRow(w, m.ID.String(), When(m.Arrived, now), Size(m.Size), string(m.State), strconv.Itoa(m.Attempts),
		next, Cut(address(m.Sender), addressWidth), recipientText(m), Cut(Clean(reason), 72))
}

// recipientText returns the first pending recipient, and how many more there are.
func recipientText(m api.QueueItem) string {
	if m.Pending <= 1 {
		return Cut(address(m.Recipient), addressWidth)
	}
	more := fmt.Sprintf(" +%d", m.Pending-1)
	return Cut(address(m.Recipient), addressWidth-len(more)) + more
}

func writeRow(w io.Writer, cells ...any) error {
	_, err := io.WriteString(w, strings.TrimRight(fmt.Sprintf(queueRow, cells...), " \n")+"\n")
	return err
}

// WriteQueueDetail writes all about a message, with times relative to now.
func WriteQueueDetail(w io.Writer, d api.QueueDetail, now time.Time) error {
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, text)
		}
	}
	row("Message", d.ID.String())
	row("State", stateText(d, now))
	row("Arrived", moment(d.Arrived, now))
	row("Size", Size(d.Size))
	row("Tries", attemptsText(d, now))
	if !d.Expires.IsZero() {
		row("Expires", moment(d.Expires, now))
	}
	row("Last failure", Clean(d.LastFailure))
	row("Destination", Clean(d.Destination))
	row("Waits", Clean(d.Waits))
	row("Sender", address(d.Sender))
	row("Envelope", envelopeText(d))
	row("Client", clientText(d.Client))
	row("Service", Clean(d.Client.Service))
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(&b, "Recipients (%d of %d pending)\n", d.Pending, d.Recipients)
	for _, r := range d.To {
		writeRecipient(r, &b, now)
	}
	if len(d.Legs) > 0 {
		fmt.Fprintf(&b, "Destinations (%d are left)\n", len(d.Legs))
	}
	for _, leg := range d.Legs {
		fmt.Fprintf(&b, "  %s: %s\n", Destination(leg.Destination), legText(leg, now))
	}
	_, err := b.WriteTo(w)
	return err
}

// legText returns how far a leg is.
func legText(leg api.QueueItem, now time.Time) string {
	text := fmt.Sprintf("%s, %s, %d attempts", counted(int64(leg.Pending), "recipient"), leg.State, leg.Attempts)
	if leg.State == api.Waiting {
		text += "; next " + Due(leg.NextAttempt, now)
	}
	for _, why := range []string{leg.Waits, leg.LastFailure} {
		if why != "" {
			return text + ": " + Clean(why)
		}
	}
	return text
}

func stateText(d api.QueueDetail, now time.Time) string {
	switch {
	case d.State == api.Held && d.HoldReason != "":
		return "held: " + Clean(d.HoldReason)
	case d.State == api.Waiting:
		return "waiting; next attempt " + Due(d.NextAttempt, now)
	}
	return string(d.State)
}

func attemptsText(d api.QueueDetail, now time.Time) string {
	if d.Attempts == 0 {
		return "none yet"
	}
	s := strconv.Itoa(d.Attempts)
	if !d.LastAttempt.IsZero() {
		s += ", the last " + When(d.LastAttempt, now)
	}
	return s
}

// envelopeText returns what the sender requested.
func envelopeText(d api.QueueDetail) string {
	parts := []string{d.Origin, d.Body}
	if d.SMTPUTF8 {
		parts = append(parts, "SMTPUTF8")
	}
	if d.RequireTLS {
		parts = append(parts, "REQUIRETLS")
	}
	if d.Return != "" {
		parts = append(parts, "RET="+d.Return)
	}
	if d.EnvID != "" {
		parts = append(parts, "ENVID="+d.EnvID)
	}
	if d.NoDSN {
		parts = append(parts, "never notify its sender")
	}
	return Clean(strings.Join(parts, ", "))
}

func clientText(c api.ClientDetail) string {
	if c.Address == "" {
		return ""
	}
	s := c.Address
	if c.Name != "" {
		s = c.Name + " [" + c.Address + "]"
	}
	if c.Helo != "" {
		s += ", said it is " + strconv.Quote(c.Helo)
	}
	for _, part := range []string{c.Proto, c.TLS} {
		if part != "" {
			s += ", " + part
		}
	}
	return Clean(s)
}

func writeRecipient(r api.RecipientDetail, b *bytes.Buffer, now time.Time) {
	fmt.Fprintf(b, "  %-9s  %s", r.Progress, address(r.Address))
	if r.Notify != "" {
		b.WriteString("  NOTIFY=" + Clean(r.Notify))
	}
	if r.ORcpt != "" {
		b.WriteString("  ORCPT=" + Clean(r.ORcpt))
	}
	b.WriteByte('\n')
	if r.Last == "" {
		return
	}
	fmt.Fprintf(b, "             %s", Clean(r.Last))
	if !r.At.IsZero() {
		fmt.Fprintf(b, " (%s)", When(r.At, now))
	}
	b.WriteByte('\n')
}

// Messages returns "1 message", "2 messages".
func Messages(n int64) string { return counted(n, "message") }

// CompleteIDs returns the ids that a shell offers for the text typed so far, each with its state
// and sender after a tab. It omits ids that were already given.
func CompleteIDs(items []api.QueueItem, given []string, typed string) []string {
	var ids []string
	for _, m := range items {
		if id := m.ID.String(); strings.HasPrefix(id, typed) && !slices.Contains(given, id) {
			ids = append(ids, id+"\t"+string(m.State)+", from "+address(m.Sender))
		}
	}
	return ids
}
