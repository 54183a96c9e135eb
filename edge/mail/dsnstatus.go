package mail

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// status writes the part for programs (RFC 3464 section 2). It is 7-bit, unlike message/global-delivery-status (RFC 6533 section 4).
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

// finalRecipient returns p with its address type. U-labels of the domain are written as A-labels if that makes the address ASCII. Any other address has the type utf-8 in its ASCII form (RFC 6533 section 3).
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

// originalRecipient returns ORCPT as it was received (RFC 3464 section 2.3.1), with an address of type utf-8 in its ASCII form. It returns "" if ORCPT can't be written on a line.
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

// utf8Address returns the utf-8-addr-xtext of RFC 6533 section 3.
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

// status returns the code of the Status field. Its class matches the action.
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

// reply returns the server's reply, or the zero Reply.
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

// diagnostic returns the Diagnostic-Code: a server's reply, or this node's own finding. The latter has a type of its own, because it is not an SMTP reply; "x-" types need no registration (RFC 3464 section 2.3.6).
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

// remoteName returns the host in "host[192.0.2.1]:25", or its address as a literal.
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
