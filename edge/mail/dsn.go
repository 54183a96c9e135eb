package mail

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"
)

// Action is what became of a recipient (RFC 3464 section 2.3.3).
type Action uint8

// Actions. ActionExpired is "failed" on the wire, with the status 4.4.7: the
// message grew too old.
const (
	ActionFailed Action = iota
	ActionExpired
	ActionDelayed
	ActionDelivered
	ActionRelayed
)

// String is the word for the Action field.
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

// DSN is a delivery status notification (RFC 3464) about some recipients of one
// message, to that message's sender.
type DSN struct {
	ID       ID        // of the notification itself
	Date     time.Time // when it is written
	Hostname string    // ours: Reporting-MTA, and the domain of From and Message-ID
	Node     string    // which of the nodes of that name, for people; "": not told
	// Random makes the MIME boundary one that the original's author can't have
	// guessed. It must be drawn anew for each DSN, and not be zero.
	Random     [12]byte
	Original   *Envelope
	Recipients []DSNRecipient // at least one
	// Message is the original, read from its start; nil returns none of it.
	Message io.Reader
	// MaxFull is the size in octets up to which a failure returns the whole
	// message where RET=FULL asked for it; above, the header is returned. 0
	// never returns a whole message.
	MaxFull int64
	// HideRemote leaves out the servers behind us and what went wrong between
	// us and them, except for their replies: the sender is a stranger.
	HideRemote bool

	eightBit bool
}

// DSNRecipient is what happened to one recipient.
type DSNRecipient struct {
	Action Action
	// Result names the recipient, and its Failure or its Reply and Remote.
	Result      Result
	LastAttempt time.Time // zero: none was made
	RetryUntil  time.Time // of ActionDelayed
}

// MaxDSNHeader bounds the header that a notification returns, in octets.
const MaxDSNHeader = 64 << 10

// maxLine is RFC 5322's limit of a line, without its CRLF.
const maxLine = 998

// UTF8 says whether the notification is written in the forms of RFC 6533, and
// so must travel with SMTPUTF8, as its original did.
func (d *DSN) UTF8() bool {
	if d.Original.SMTPUTF8 || !d.Original.Sender.IsASCII() {
		return true
	}
	for _, r := range d.Original.Recipients {
		if !r.Path.IsASCII() {
			return true
		}
	}
	return false
}

// Envelope is the envelope to commit the notification with, from the null
// sender (RFC 3464 section 2). It is complete only after WriteDSN.
func (d *DSN) Envelope() *Envelope {
	env := &Envelope{
		ID:         d.ID,
		Arrived:    d.Date,
		Recipients: []Recipient{{Path: d.Original.Sender, Notify: NotifyNever}},
		SMTPUTF8:   d.UTF8(),
		RequireTLS: d.Original.RequireTLS, // RFC 8689 section 5
		Origin:     Local,
		NoDSN:      true,
	}
	if d.eightBit {
		env.Body = Body8Bit
	}
	return env
}

// WriteDSN writes d as a multipart/report (RFC 6522): words for people, the
// status for programs, and the original or its header. Each line ends in CRLF
// and is at most 998 octets; longer lines of the original are cut. It returns
// the errors of w and of d.Message, the latter wrapped with "original message".
func WriteDSN(w io.Writer, d *DSN) error {
	if d.Original == nil || len(d.Recipients) == 0 || d.Original.Sender.IsNull() || d.Random == [12]byte{} {
		return errors.New("dsn: no original, no recipient, nobody to send it to, or no random")
	}
	for _, r := range d.Recipients {
		if i := r.Result.Recipient; i < 0 || i >= len(d.Original.Recipients) {
			return fmt.Errorf("dsn: recipient %d of %d", i, len(d.Original.Recipients))
		}
	}
	utf8ok, full := d.UTF8(), d.returnsFull()
	var returned []byte // all that is returned, for its octets decide the encoding
	var err error
	switch {
	case full:
		returned, err = io.ReadAll(io.LimitReader(d.Message, d.MaxFull))
	case d.Message != nil:
		returned, err = readHeader(d.Message)
	}
	if err != nil {
		return fmt.Errorf("original message: %w", err)
	}
	d.eightBit = utf8ok || !isASCII(string(returned))

	b := &dsnWriter{Writer: bufio.NewWriterSize(w, 8<<10), utf8ok: utf8ok, hideRemote: d.HideRemote}
	boundary := "=_" + d.ID.String() + "_" + hex.EncodeToString(d.Random[:])
	b.head(d, boundary)
	b.people(d, boundary)
	b.status(d, boundary)
	switch {
	case full:
		b.part(boundary, "message/rfc822", "message/global", d.eightBit)
	case d.Message != nil:
		b.part(boundary, "text/rfc822-headers", "message/global-headers", d.eightBit)
	}
	err = b.copyLines(bytes.NewReader(returned))
	if err != nil {
		return fmt.Errorf("original message: %w", err)
	}
	b.line("\r\n--", boundary, "--")
	return b.Flush()
}

// returnsFull says whether the whole message goes back. RET applies to
// failures only (RFC 3461 section 4.3).
func (d *DSN) returnsFull() bool {
	return d.Message != nil && d.Original.Return == ReturnFull &&
		!d.Original.RequireTLS && // RFC 8689 section 5
		d.Original.Size <= d.MaxFull && d.worst() <= ActionExpired
}

// worst is the action that the notification is announced by.
func (d *DSN) worst() Action {
	worst := ActionRelayed
	for _, r := range d.Recipients {
		worst = min(worst, r.Action)
	}
	return worst
}

// readHeader reads the header of m, without the empty line, cut at a line's end
// behind MaxDSNHeader.
func readHeader(m io.Reader) ([]byte, error) {
	var scan HeaderScan
	scan.Keep(make([]byte, 0, MaxDSNHeader))
	buf := make([]byte, 4<<10)
	for !scan.Ended && !scan.Truncated {
		n, err := m.Read(buf)
		scan.Write(buf[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	kept := string(scan.Kept())
	if scan.Truncated {
		kept = kept[:strings.LastIndexByte(kept, '\n')+1]
	} else if scan.Ended && !scan.NoBlank {
		kept = strings.TrimSuffix(strings.TrimSuffix(kept, "\n"), "\r")
	}
	return []byte(kept), nil
}

// dsnWriter writes the parts. Errors stick in the bufio.Writer until Flush.
type dsnWriter struct {
	*bufio.Writer
	utf8ok     bool
	hideRemote bool
}

func (b *dsnWriter) line(parts ...string) {
	for _, s := range parts {
		b.WriteString(s)
	}
	b.WriteString("\r\n")
}

// part starts a part of one of two types, the second in the forms of RFC 6533.
func (b *dsnWriter) part(boundary, kind, global string, eightBit bool) {
	b.line("\r\n--", boundary)
	if b.utf8ok {
		kind = global
	}
	b.line("Content-Type: ", kind)
	if eightBit {
		b.line("Content-Transfer-Encoding: 8bit")
	}
	b.line()
}

func (b *dsnWriter) head(d *DSN, boundary string) {
	b.line("From: Mail Delivery System <mailer-daemon@", d.Hostname, ">")
	b.line("To: <", d.Original.Sender.String(), ">")
	b.line("Subject: ", subjects[d.worst()])
	b.line("Date: ", d.Date.UTC().Format(dateFormat))
	b.line("Message-ID: <", d.ID.String(), "@", d.Hostname, ">")
	b.line("Auto-Submitted: auto-replied") // RFC 3834 section 5
	b.line("MIME-Version: 1.0")
	b.line("Content-Type: multipart/report; report-type=delivery-status;")
	b.line("\tboundary=\"", boundary, "\"")
	if d.eightBit {
		b.line("Content-Transfer-Encoding: 8bit")
	}
	b.line()
	b.line("This is a delivery status notification in MIME format.")
}

// status writes the part for programs (RFC 3464 section 2).
func (b *dsnWriter) status(d *DSN, boundary string) {
	b.part(boundary, "message/delivery-status", "message/global-delivery-status", b.utf8ok)
	env := d.Original
	b.field("Reporting-MTA", "dns; "+d.Hostname)
	if env.EnvID != "" {
		b.line("Original-Envelope-Id: ", clean(cut(env.EnvID, 500), false))
	}
	b.field("Arrival-Date", env.Arrived.UTC().Format(dateFormat))
	for i := range d.Recipients {
		r := &d.Recipients[i]
		rcpt := env.Recipients[r.Result.Recipient]
		b.line()
		if s := b.originalRecipient(rcpt.ORcpt); s != "" {
			b.line("Original-Recipient: ", s)
		}
		kind := "rfc822; "
		if !rcpt.Path.IsASCII() {
			kind = "utf-8; " // RFC 6533 section 3
		}
		b.line("Final-Recipient: ", kind, rcpt.Path.String())
		b.field("Action", r.Action.String())
		b.field("Status", r.status().String())
		if remote := r.remote(); remote != "" && !b.hideRemote {
			b.field("Remote-MTA", "dns; "+remoteName(remote))
		}
		if s := r.diagnostic(b.hideRemote); s != "" {
			b.field("Diagnostic-Code", s)
		}
		if !r.LastAttempt.IsZero() {
			b.field("Last-Attempt-Date", r.LastAttempt.UTC().Format(dateFormat))
		}
		if r.Action == ActionDelayed && !r.RetryUntil.IsZero() {
			b.field("Will-Retry-Until", r.RetryUntil.UTC().Format(dateFormat))
		}
		b.field("Final-Log-ID", env.ID.String())
	}
}

// originalRecipient is ORCPT as it came (RFC 3464 section 2.3.1), or "" if it
// can't stand on a line. Beyond ASCII it is written in the form of RFC 6533
// section 3 if the notification is not in UTF-8.
func (b *dsnWriter) originalRecipient(orcpt string) string {
	kind, addr, ok := strings.Cut(orcpt, ";")
	if !ok || !isAuthToken(kind) || len(kind) > 60 || addr == "" || len(addr) > 500 || !isPlain(addr) {
		return ""
	}
	if b.utf8ok || isASCII(addr) {
		return strings.ToLower(kind) + "; " + addr
	}
	var enc strings.Builder
	for _, r := range addr {
		if r < 0x80 {
			enc.WriteRune(r)
		} else {
			fmt.Fprintf(&enc, `\x{%X}`, r)
		}
	}
	if enc.Len() > 900 {
		return ""
	}
	return strings.ToLower(kind) + "; " + enc.String()
}

// status is the Status field's code; its class fits the action.
func (r *DSNRecipient) status() Enhanced {
	f := r.Result.Failure
	switch {
	case r.Action == ActionExpired:
		return Enhanced{4, 4, 7}
	case r.Action == ActionRelayed, r.Action == ActionDelivered:
		if e := r.Result.Reply.Enhanced; e[0] == 2 {
			return e
		}
		return Enhanced{2, 0, 0}
	case f != nil && f.Enhanced != Enhanced{}:
		return f.Enhanced
	case r.Action == ActionDelayed:
		return Enhanced{4, 0, 0}
	}
	return Enhanced{5, 0, 0}
}

// reply is what the other side said, if it said anything.
func (r *DSNRecipient) reply() Reply {
	if f := r.Result.Failure; f != nil {
		return f.Reply
	}
	return r.Result.Reply
}

func (r *DSNRecipient) remote() string {
	if f := r.Result.Failure; f != nil {
		return f.Remote
	}
	return r.Result.Remote
}

// diagnostic is the Diagnostic-Code: the remote's words, or ours where it said
// nothing.
func (r *DSNRecipient) diagnostic(hide bool) string {
	if reply := r.reply(); reply.Code != 0 {
		return "smtp; " + reply.String()
	}
	if f := r.Result.Failure; f != nil && f.Cause != nil && !hide {
		return "x-anymx; " + f.Cause.Error()
	}
	return ""
}

// remoteName is the host in "host[192.0.2.1]:25", or its address as a literal.
func remoteName(remote string) string {
	host, rest, _ := strings.Cut(remote, "[")
	if isDomain(host) {
		if _, err := netip.ParseAddr(host); err != nil {
			return host
		}
	}
	addr, _, _ := strings.Cut(rest, "]")
	if ip, err := netip.ParseAddr(addr); err == nil {
		return string(appendLiteral(nil, ip))
	}
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		return string(appendLiteral(nil, ap.Addr()))
	}
	return string(appendToken(nil, cut(remote, MaxDomain), "._-", false))
}

// field writes a header field of text from elsewhere: cleaned, bounded, and
// folded before a word where it is long.
func (b *dsnWriter) field(name, value string) {
	const maxField = 2000
	b.WriteString(name)
	b.WriteByte(':')
	col := len(name) + len(":")
	for i, word := range strings.Fields(clean(cut(value, maxField), b.utf8ok)) {
		word = cut(word, maxLine-len(name)-len(": "))
		if i > 0 && col+1+len(word) > foldAt {
			b.WriteString("\r\n")
			col = 0
		}
		b.WriteByte(' ')
		b.WriteString(word)
		col += 1 + len(word)
	}
	b.line()
}

// copyLines copies m with each line ended by CRLF, a CR or LF alone taken for
// one, NUL as "?", and lines cut at maxLine.
func (b *dsnWriter) copyLines(m io.Reader) error {
	buf := make([]byte, 8<<10)
	col, cr, full := 0, false, false
	newline := func() {
		b.line()
		col, full = 0, false
	}
	for {
		n, err := m.Read(buf)
		for _, c := range buf[:n] {
			if cr {
				newline()
			}
			lf := c == '\n'
			if lf && !cr {
				newline()
			}
			if cr = c == '\r'; cr || lf {
				continue
			}
			// A rune is kept whole or not at all.
			if full = full || col >= maxLine || col > maxLine-4 && c >= 0xc0; full {
				continue
			}
			if c == 0 {
				c = '?'
			}
			b.WriteByte(c)
			col++
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if cr || col > 0 {
		newline()
	}
	return nil
}
