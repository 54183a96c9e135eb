// Package policy decides what mail is accepted. A session passes the facts of a command, and gets
// the reply that refuses it, or the zero reply if it is accepted.
//
// What happens to the data: nothing. The package is pure. The caller, a
// session of edge/ingress/smtpd, looks everything up and puts it into the facts; what asks DNS or a
// disk gets a room of its own beside this one. Lists such as Domains are complete before they are used, and never change
// afterwards.
package policy

import (
	"strings"

	"anymx/edge/judge/replies"
	"anymx/edge/mail"
)

// Rules holds the operator's settings. A limit of 0 means no limit, but for MaxHeader and MaxFields, where it is the default of mail.Header.
type Rules struct {
	Hostname      string
	Domains       *Domains // nil: no mail is accepted
	MaxMessage    int64    // bytes as transferred
	MaxRecipients int      // of one message
	MaxRefused    int      // refused recipients of one connection
	MaxMessages   int      // of one connection
	MaxReceived   int      // Received fields; more is a loop
	MaxHeader     int64    // bytes of a message's header
	MaxFields     int      // in a message's header
	RequireTLS    bool     // refuse MAIL without TLS
	SenderRouting bool     // accept addresses that core might relay or run as a command: "victim%gmail.com@ours"
	NoTLS         bool     // STARTTLS should be offered but can't be: refusals for lack of TLS are temporary
}

// lacking returns the refusal of something that needs extensions which core doesn't support, or the
// zero reply. what names it.
//
// While core's extensions are unknown, SMTPUTF8 is refused temporarily: a notification to a sender
// who needs it could not be delivered either. 8-bit text is accepted: nearly every server has
// 8BITMIME, and a notification needs no extension.
func lacking(core mail.CoreExtensions, needs mail.Extensions, what string) mail.Reply {
	switch {
	case needs == 0 || core.Supports(needs):
		return mail.Reply{}
	case core == mail.CoreUnknown && needs.Has(mail.SMTPUTF8):
		return replies.CoreUnknown.With(what)
	case core == mail.CoreUnknown:
		return mail.Reply{}
	case needs.Has(mail.SMTPUTF8) && !core.Supports(mail.SMTPUTF8):
		return replies.CoreNoUTF8.With(what)
	case !core.Supports(mail.EightBitMIME):
		return replies.CoreNo8Bit.With(what)
	}
	return replies.CoreNoneBoth.With(what)
}

// Mail holds the facts at MAIL.
type Mail struct {
	Sender     mail.Path
	Size       int64 // as declared; 0: not declared
	TLS        bool
	RequireTLS bool // the REQUIRETLS parameter
	SMTPUTF8   bool
	Core       mail.CoreExtensions
	Open       bool  // a transaction is open already
	Messages   int   // accepted on this connection
	Storage    error // why the spool accepts no mail; nil: it does
}

// Mail decides on a MAIL command. The zero reply accepts it.
func (r *Rules) Mail(f Mail) mail.Reply {
	switch {
	case f.Open:
		return replies.NestedMail.Reply
	case (r.RequireTLS || f.RequireTLS) && !f.TLS && r.NoTLS:
		return replies.TLSMissing.Reply
	case r.RequireTLS && !f.TLS:
		return replies.TLSRequired.Reply
	case f.RequireTLS && !f.TLS:
		return replies.RequireTLS.Reply
	case r.MaxMessages > 0 && f.Messages >= r.MaxMessages:
		return replies.TooManyMessages.With(r.Hostname)
	case f.Storage != nil:
		return replies.StorageFull.Reply
	case r.MaxMessage > 0 && f.Size > r.MaxMessage:
		return replies.TooBig.With(r.MaxMessage)
	case !f.SMTPUTF8 && !f.Sender.IsASCII():
		return replies.SenderUTF8.Reply
	case !r.SenderRouting && routes(f.Sender.Local) && r.atCore(f.Sender.Domain):
		// A notification to this sender would go through core, which would relay it.
		return replies.RestrictedSender.Reply
	}
	return lacking(f.Core, f.Sender.Needs(), "sender address")
}

// Rcpt holds the facts at RCPT.
type Rcpt struct {
	Path       mail.Path
	SMTPUTF8   bool // the transaction's
	Core       mail.CoreExtensions
	Recipients int // accepted in this transaction
	Refused    int // refused on this connection
}

// Rcpt decides on a RCPT command. It returns the path to deliver to; the zero reply accepts it.
func (r *Rules) Rcpt(f Rcpt) (mail.Path, mail.Reply) {
	if r.MaxRefused > 0 && f.Refused >= r.MaxRefused {
		return mail.Path{}, replies.TooManyRefused.With(r.Hostname)
	}
	if r.MaxRecipients > 0 && f.Recipients >= r.MaxRecipients {
		return mail.Path{}, replies.TooManyRecipients.Reply
	}
	if !f.SMTPUTF8 && !f.Path.IsASCII() {
		return mail.Path{}, replies.RecipientUTF8.Reply
	}
	to, refusal := r.mailbox(f.Path)
	if refusal.Code == 0 {
		refusal = lacking(f.Core, to.Needs(), "recipient address")
	}
	if refusal.Code != 0 {
		return mail.Path{}, refusal
	}
	return to, mail.Reply{}
}

// mailbox returns the path to deliver mail for to, or the refusal.
func (r *Rules) mailbox(to mail.Path) (mail.Path, mail.Reply) {
	if to.IsPostmaster() && (to.Domain == "" || asciiDomain(to.Domain) == asciiDomain(r.Hostname)) {
		// RFC 5321 section 4.5.1: postmaster exists, with and without our host name.
		if to.Domain == "" {
			to.Domain = r.Domains.postmasterDomain(r.Hostname)
		}
		to.Domain = forCore(to.Domain)
		return to, mail.Reply{}
	}
	recipients, ours := r.Domains.Lookup(to.Domain)
	to.Domain = forCore(to.Domain)
	switch {
	case !ours:
		return mail.Path{}, replies.RelayDenied.Reply
	case to.IsPostmaster() || recipients.lists(to.Local):
		return to, mail.Reply{}
	case recipients == Unavailable:
		return mail.Path{}, replies.Unverified.Reply
	case !r.SenderRouting && restricted(to.Local):
		return mail.Path{}, replies.RestrictedRcpt.Reply
	case recipients.Has(to.Local):
		return to, mail.Reply{}
	}
	return mail.Path{}, replies.UserUnknown.Reply
}

// atCore reports whether core may treat domain as its own: a domain whose mail is accepted, our
// host name, an address literal, or a single label such as "localhost". Any other domain is
// foreign, and only its own servers interpret its local parts.
func (r *Rules) atCore(domain string) bool {
	_, ours := r.Domains.Lookup(domain)
	return ours || !strings.Contains(domain, ".") || domain[0] == '[' || asciiDomain(domain) == asciiDomain(r.Hostname)
}

// Header decides on the header of a message. The zero reply accepts it.
func (r *Rules) Header(h *mail.Header) mail.Reply {
	switch {
	case h.TooLarge:
		return replies.HeaderTooLarge.With(r.MaxHeader, r.MaxFields)
	case r.MaxReceived > 0 && h.Count("received") > r.MaxReceived:
		return replies.TooManyHops.Reply
	}
	return mail.Reply{}
}

// Data holds the facts at the end of a message.
type Data struct {
	Needs mail.Extensions
	Core  mail.CoreExtensions
}

// Data decides on a message before it is committed. The zero reply accepts it.
func (r *Rules) Data(f Data) mail.Reply {
	return lacking(f.Core, f.Needs, "message")
}
