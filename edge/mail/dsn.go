package mail

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"time"
)

// Action is the outcome for a recipient (RFC 3464 section 2.3.3).
type Action uint8

// Actions. ActionExpired is "failed" in the notification, with status 4.4.7: the message reached
// its maximum age.
const (
	ActionFailed Action = iota
	ActionExpired
	ActionDelayed
	ActionDelivered
	ActionRelayed
)

// String returns the value of the Action field.
func (a Action) String() string {
	switch a {
	case ActionDelayed:
		return "delayed"
	case ActionDelivered:
		return "delivered"
	case ActionRelayed:
		return "relayed"
	}
	return "failed"
}

// DSN is a delivery status notification (RFC 3464) to the sender of a message about some of its
// recipients. Its header and body are always 7-bit, so that any server can relay it.
type DSN struct {
	ID       ID        // of the notification itself
	Date     time.Time // when it is written
	Hostname string    // of this node: Reporting-MTA, and the domain of From and Message-ID
	Node     string    // the node, for human readers; "": left out
	// Random makes the MIME boundary unguessable for the author of the original. Draw it for each
	// DSN; zero is an error.
	Random     [12]byte
	Original   *Envelope
	Recipients []DSNRecipient // at least one
	// Message is the original message; nil returns none of it.
	Message io.Reader
	// MaxFull is the size in bytes up to which a failure notification returns the whole message if
	// RET=FULL was given. Above it, the header is returned. With 0, a whole message is never
	// returned.
	MaxFull int64
	// HideRemote leaves out the servers after this node and its errors with them, except for their
	// replies and DSNRecipient.Reason. Set it for senders outside of the organization.
	HideRemote bool
}

// DSNRecipient is the outcome for one recipient.
type DSNRecipient struct {
	Action Action
	// Result names the recipient, and its Failure or its Reply and Remote.
	Result Result
	// Reason is why delivery failed without a server's reply, in words that any sender may read. If
	// it is "", the Failure's Cause is used, or the text for its status code if HideRemote is set.
	Reason string
	// Earlier is the failure of the last attempt if Result is not from an attempt: the message
	// expired while its destination was down. nil if there was none.
	Earlier     *Failure
	LastAttempt time.Time // zero: there was none
	RetryUntil  time.Time // for ActionDelayed
}

// MaxDSNHeader bounds the header that a notification returns, in bytes.
const MaxDSNHeader = 64 << 10

// Envelope returns the envelope of the notification, from the null sender (RFC 3464 section 2). It
// needs SMTPUTF8 only if the local part of its recipient is not ASCII.
func (d *DSN) Envelope() *Envelope {
	to := d.Original.Sender.ascii()
	return &Envelope{
		ID:         d.ID,
		Arrived:    d.Date,
		Recipients: []Recipient{{Path: to, Notify: NotifyNever}},
		Body:       Body7Bit,
		Content:    ContentKnown,
		SMTPUTF8:   !to.IsASCII(),
		RequireTLS: d.Original.RequireTLS, // RFC 8689 section 5
		Origin:     Local,
		NoDSN:      true,
	}
}

// WriteDSN writes d as a multipart/report (RFC 6522): a text for people, the status for programs,
// and the original or its header. All of it is ASCII, in lines of at most 998 bytes that end in
// CRLF. It returns the errors of w and of d.Message, the latter wrapped with "original message".
func WriteDSN(w io.Writer, d *DSN) error {
	if d.Original == nil || len(d.Recipients) == 0 || d.Original.Sender.IsNull() || d.Random == [12]byte{} {
		return errors.New("dsn: Original, Recipients, the original's sender and Random must be set")
	}
	for _, r := range d.Recipients {
		if i := r.Result.Recipient; i < 0 || i >= len(d.Original.Recipients) {
			return fmt.Errorf("dsn: recipient %d is out of range, the original has %d", i, len(d.Original.Recipients))
		}
	}
	returned, full, err := d.returned()
	if err != nil {
		return fmt.Errorf("original message: %w", err)
	}

	b := &dsnWriter{Writer: bufio.NewWriterSize(w, 8<<10), hideRemote: d.HideRemote}
	boundary := "=_" + d.ID.String() + "_" + hex.EncodeToString(d.Random[:])
	b.head(d, boundary)
	b.textPart(boundary, "text/plain", d.text())
	b.status(d, boundary)
	switch {
	case full:
		b.part(boundary, "message/rfc822")
		b.Write(returned)
	case d.Message != nil:
		b.textPart(boundary, "text/rfc822-headers", returned)
	}
	b.line("\r\n--", boundary, "--")
	return b.Flush()
}

// returned returns what the notification contains of the original: all of it or its header, with
// its last line ended. A whole message goes as message/rfc822, which can't be encoded (RFC 2046
// section 5.2.1), so it must be 7-bit already.
func (d *DSN) returned() (content []byte, full bool, err error) {
	if d.Message == nil {
		return nil, false, nil
	}
	m := d.Message
	if d.wantsFull() {
		whole, err := io.ReadAll(io.LimitReader(d.Message, d.MaxFull))
		if err != nil {
			return nil, false, err
		}
		if content = endLine(whole); isSevenBit(content) {
			return content, true, nil
		}
		m = bytes.NewReader(whole)
	}
	content, err = readHeader(m)
	return endLine(content), false, err
}

// wantsFull reports whether the notification should contain the whole message. RET applies to
// failures only (RFC 3461 section 4.3).
func (d *DSN) wantsFull() bool {
	return d.Original.Return == ReturnFull &&
		!d.Original.RequireTLS && // RFC 8689 section 5
		d.Original.Size <= d.MaxFull && d.worst() <= ActionExpired
}

// worst returns the worst of the recipients' actions, which the subject names.
func (d *DSN) worst() Action {
	worst := ActionRelayed
	for _, r := range d.Recipients {
		worst = min(worst, r.Action)
	}
	return worst
}

// readHeader reads the header of m without the empty line. It cuts a header longer than
// MaxDSNHeader at the end of a line.
func readHeader(m io.Reader) ([]byte, error) {
	h := Header{MaxSize: MaxDSNHeader, MaxFields: MaxDSNHeader}
	kept := make([]byte, 0, MaxDSNHeader)
	buf := make([]byte, 4<<10)
	for !h.Ended && !h.TooLarge {
		n, err := m.Read(buf)
		h.Write(buf[:n])
		kept = append(kept, buf[:min(n, cap(kept)-len(kept))]...)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	if h.TooLarge {
		return kept[:bytes.LastIndexByte(kept, '\n')+1], nil
	}
	if kept = kept[:h.Size]; h.Ended && !h.NoBlank {
		kept = bytes.TrimSuffix(bytes.TrimSuffix(kept, []byte("\n")), []byte("\r"))
	}
	return kept, nil
}

func (b *dsnWriter) head(d *DSN, boundary string) {
	b.line("From: Mail Delivery System <mailer-daemon@", d.Hostname, ">")
	b.line("To: ", headerAddress(d.Original.Sender))
	b.line("Subject: ", subjects[d.worst()])
	b.line("Date: ", d.Date.UTC().Format(dateFormat))
	b.line("Message-ID: <", d.ID.String(), "@", d.Hostname, ">")
	b.line("Auto-Submitted: auto-replied") // RFC 3834 section 5
	b.line("MIME-Version: 1.0")
	b.line("Content-Type: multipart/report; report-type=delivery-status;")
	b.line("\tboundary=\"", boundary, "\"")
	b.line()
	b.line("This is a delivery status notification in MIME format.")
}

// headerAddress returns p for an address field in ASCII. A local part outside ASCII has no such
// form: the address becomes the name of an empty group (RFC 6857 section 3.1.8), which people can
// read and every server accepts. Base64 has no character that is special in a name.
func headerAddress(p Path) string {
	if p = p.ascii(); p.IsASCII() {
		return "<" + p.String() + ">"
	}
	return mime.BEncoding.Encode("utf-8", p.String()) + " :;"
}
