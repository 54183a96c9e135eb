package mail

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
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
// message, to that message's sender. It is 7-bit in header and body whatever the
// original holds, so that it needs no extension of the servers on its way.
type DSN struct {
	ID       ID        // of the notification itself
	Date     time.Time // when it is written
	Hostname string    // ours: Reporting-MTA, and the domain of From and Message-ID
	Node     string    // which of the nodes of that name, for people; "": left out
	// Random makes the MIME boundary one that the original's author can't have
	// guessed. Draw it for each DSN; zero is refused.
	Random     [12]byte
	Original   *Envelope
	Recipients []DSNRecipient // at least one
	// Message is the original, read from its start; nil returns none of it.
	Message io.Reader
	// MaxFull is the size in bytes up to which a failure returns the whole
	// message where RET=FULL asked for it; above, the header is returned. 0
	// never returns a whole message.
	MaxFull int64
	// HideRemote leaves out the servers after us and what went wrong between us
	// and them, except for their replies and DSNRecipient.Reason: the sender is a
	// stranger.
	HideRemote bool
}

// DSNRecipient is what happened to one recipient.
type DSNRecipient struct {
	Action Action
	// Result names the recipient, and its Failure or its Reply and Remote.
	Result Result
	// Reason is why it failed where no server replied, in words that anybody may
	// read. "" takes the Failure's Cause unless HideRemote is set, and else the
	// words for its status code.
	Reason string
	// Earlier is the failure of the last attempt where Result is of no attempt: the
	// message expired while its destination was down. nil if there was none.
	Earlier     *Failure
	LastAttempt time.Time // zero: none was made
	RetryUntil  time.Time // of ActionDelayed
}

// MaxDSNHeader bounds the header that a notification returns, in bytes.
const MaxDSNHeader = 64 << 10

// maxLine is RFC 5322's limit of a line, without its CRLF.
const maxLine = 998

// Envelope is the envelope to commit the notification with, from the null
// sender (RFC 3464 section 2). Only a recipient whose local part is not ASCII
// makes it need SMTPUTF8.
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

// WriteDSN writes d as a multipart/report (RFC 6522): words for people, the
// status for programs, and the original or its header. All of it is ASCII in
// lines of at most 998 bytes that end in CRLF. It returns the errors of w and of
// d.Message, the latter wrapped with "original message".
func WriteDSN(w io.Writer, d *DSN) error {
	if d.Original == nil || len(d.Recipients) == 0 || d.Original.Sender.IsNull() || d.Random == [12]byte{} {
		return errors.New("dsn: no original, no recipient, nobody to send it to, or no random")
	}
	for _, r := range d.Recipients {
		if i := r.Result.Recipient; i < 0 || i >= len(d.Original.Recipients) {
			return fmt.Errorf("dsn: recipient %d of %d", i, len(d.Original.Recipients))
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

// returned is what goes back of the original: all of it, or its header, with its
// last line ended. All of it goes back only as message/rfc822, which can't be
// encoded (RFC 2046 section 5.2.1), so that it has to be 7-bit as it is.
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

// wantsFull says whether the whole message should go back. RET applies to
// failures only (RFC 3461 section 4.3).
func (d *DSN) wantsFull() bool {
	return d.Original.Return == ReturnFull &&
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

// readHeader reads the header of m without the empty line. More than MaxDSNHeader
// is cut at a line's end.
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
	kept := scan.Kept()
	if scan.Truncated {
		kept = kept[:bytes.LastIndexByte(kept, '\n')+1]
	} else if scan.Ended && !scan.NoBlank {
		kept = bytes.TrimSuffix(bytes.TrimSuffix(kept, []byte("\n")), []byte("\r"))
	}
	return kept, nil
}

// dsnWriter writes the parts. Errors stick in the bufio.Writer until Flush.
type dsnWriter struct {
	*bufio.Writer
	hideRemote bool
}

func (b *dsnWriter) line(parts ...string) {
	for _, s := range parts {
		b.WriteString(s)
	}
	b.WriteString("\r\n")
}

// part starts a part whose header is complete with its type.
func (b *dsnWriter) part(boundary, kind string) {
	b.line("\r\n--", boundary)
	b.line("Content-Type: ", kind)
	b.line()
}

// textPart writes a part of a text type, in quoted-printable where content is
// not 7-bit, so that decoding it gives content byte for byte.
//
// A header with UTF-8 is text/rfc822-headers too, which RFC 6522 lets be encoded
// like this. message/global-headers of RFC 6533 could be encoded as well, but
// programs that don't know it read any message type as a message without
// decoding it, or offer it as a file. As text it is shown, and charset says how.
func (b *dsnWriter) textPart(boundary, kind string, content []byte) {
	if isSevenBit(content) {
		b.part(boundary, kind+"; charset=us-ascii")
		b.Write(content)
		return
	}
	if utf8.Valid(content) {
		kind += "; charset=utf-8"
	}
	b.line("\r\n--", boundary)
	b.line("Content-Type: ", kind)
	b.line("Content-Transfer-Encoding: quoted-printable")
	b.line()
	b.quotedPrintable(content)
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

// headerAddress is p for an address field in ASCII. A local part beyond ASCII
// has no such form, so that the address becomes the name of an empty group, as
// RFC 6857 section 3.1.8 has it: people see it, and the field is legal for every
// server. Base64 has no character that means anything in a name.
func headerAddress(p Path) string {
	if p = p.ascii(); p.IsASCII() {
		return "<" + p.String() + ">"
	}
	return mime.BEncoding.Encode("utf-8", p.String()) + " :;"
}

// status writes the part for programs (RFC 3464 section 2). It is ASCII and
// 7-bit, unlike message/global-delivery-status (RFC 6533 section 4).
func (b *dsnWriter) status(d *DSN, boundary string) {
	b.part(boundary, "message/delivery-status")
	env := d.Original
	b.field("Reporting-MTA", "dns; "+d.Hostname)
	if env.EnvID != "" {
		b.line("Original-Envelope-Id: ", cut(escaped(env.EnvID), 900))
	}
	b.field("Arrival-Date", env.Arrived.UTC().Format(dateFormat))
	for i := range d.Recipients {
		r := &d.Recipients[i]
		rcpt := env.Recipients[r.Result.Recipient]
		b.line()
		if s := originalRecipient(rcpt.ORcpt); s != "" {
			b.line("Original-Recipient: ", s)
		}
		b.line("Final-Recipient: ", finalRecipient(rcpt.Path))
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

// finalRecipient is p with its address type. A domain of U-labels is written in
// A-labels where that makes the address one of RFC 822; any other address beyond
// ASCII is of the type utf-8 in its ASCII form (RFC 6533 section 3).
func finalRecipient(p Path) string {
	if ascii := p.ascii(); ascii.IsASCII() {
		return "rfc822; " + ascii.String()
	}
	s := "utf-8; " + utf8Address(p.String())
	if at := strings.LastIndexByte(s, '@'); len(s) > 900 && at > 0 { // each half fits on a line
		return s[:at] + "\r\n " + s[at:]
	}
	return s
}

// originalRecipient is ORCPT as it came (RFC 3464 section 2.3.1), an address of
// type utf-8 in its ASCII form. It is "" if ORCPT can't stand on a line.
func originalRecipient(orcpt string) string {
	kind, addr, ok := strings.Cut(orcpt, ";")
	if !ok || !isAuthToken(kind) || len(kind) > 60 || addr == "" || !utf8.ValidString(addr) {
		return ""
	}
	switch kind = strings.ToLower(kind); {
	case kind == "utf-8", !isASCII(addr):
		kind, addr = "utf-8", utf8Address(addr)
	case !isPlain(addr):
		return ""
	}
	if len(addr) > 900 {
		return ""
	}
	return kind + "; " + addr
}

// utf8Address is the utf-8-addr-xtext of RFC 6533 section 3.
func utf8Address(addr string) string {
	var b strings.Builder
	for _, r := range addr {
		if r > ' ' && r < 0x7f && r != '\\' && r != '+' && r != '=' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		}
	}
	return b.String()
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
	case f != nil && r.Action == ActionDelayed && f.Enhanced != Enhanced{}:
		return Enhanced{4, f.Enhanced[1], f.Enhanced[2]}
	case f != nil && (f.Enhanced[0] == 4 || f.Enhanced[0] == 5):
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

// diagnostic is the Diagnostic-Code: a server's reply, or what this system found
// by itself. The latter is no reply that a server gave, so that its type is one
// of our own; "x-" types need no registration (RFC 3464 section 2.3.6).
func (r *DSNRecipient) diagnostic(hide bool) string {
	if reply := r.reply(); reply.Code != 0 {
		return "smtp; " + reply.String()
	}
	if r.Earlier != nil && r.Earlier.Reply.Code != 0 {
		return "smtp; " + r.Earlier.Reply.String()
	}
	if r.Result.Failure == nil {
		return ""
	}
	return "x-anymx; " + r.cause(hide)
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

// field writes a header field of text from elsewhere: in ASCII, bounded, and
// folded before a word where it is long.
func (b *dsnWriter) field(name, value string) {
	const maxField = 2000
	b.WriteString(name)
	b.WriteByte(':')
	col := len(name) + len(":")
	for i, word := range strings.Fields(cut(escaped(value), maxField)) {
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

// escaped is clean s with what is not ASCII as \x{HEX}.
func escaped(s string) string {
	if s = clean(s, true); isASCII(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return b.String()
}

// quotedPrintable writes p in the encoding of RFC 2045 section 6.7. CRLF ends a
// line; a CR or LF of its own is encoded like any other byte that can't stand as
// it is.
func (b *dsnWriter) quotedPrintable(p []byte) {
	const hex = "0123456789ABCDEF"
	const maxQP = 75 // and the "=" of a soft line break
	col := 0
	for i := 0; i < len(p); i++ {
		c := p[i]
		if bytes.HasPrefix(p[i:], crlf) {
			b.Write(crlf)
			i, col = i+1, 0
			continue
		}
		literal := c > ' ' && c < 0x7f && c != '='
		if c == ' ' || c == '\t' {
			literal = i+1 < len(p) && !bytes.HasPrefix(p[i+1:], crlf)
		}
		if col == maxQP || !literal && col > maxQP-len("=XX") {
			b.WriteString("=\r\n")
			col = 0
		}
		// What mbox files and SMTP treat specially (RFC 2049 section 3).
		if col == 0 && (c == '.' || bytes.HasPrefix(p[i:], []byte("From "))) {
			literal = false
		}
		if literal {
			b.WriteByte(c)
			col++
			continue
		}
		b.WriteByte('=')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
		col += len("=XX")
	}
}

var crlf = []byte("\r\n")

// endLine ends the last line of p.
func endLine(p []byte) []byte {
	if len(p) == 0 || bytes.HasSuffix(p, crlf) {
		return p
	}
	return append(p, crlf...)
}

// isSevenBit says whether p is 7bit data (RFC 2045 section 2.7): ASCII without
// NUL in lines of at most 998 bytes that end in CRLF.
func isSevenBit(p []byte) bool {
	for line := range bytes.SplitSeq(p, crlf) {
		if len(line) > maxLine {
			return false
		}
		for _, c := range line {
			if c >= utf8.RuneSelf || c == 0 || c == '\r' || c == '\n' {
				return false
			}
		}
	}
	return true
}
