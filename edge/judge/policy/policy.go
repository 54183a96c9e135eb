// Package policy decides. A session brings the facts of a command, and gets the
// reply that refuses it, or nothing: then it is accepted.
//
// What happens to the data: nothing. The package is pure; whatever has to be
// looked up stands in the facts, and lists such as Domains are read whole
// before they are used and never change afterwards.
package policy

import (
	"fmt"
	"strings"

	"anymx/edge/mail"
)

// Rules are what an operator may set. The zero value of a limit is no limit.
type Rules struct {
	Hostname      string
	Domains       *Domains // nil: no mail is accepted
	MaxMessage    int64    // octets as transferred
	MaxRecipients int      // of one message
	MaxRefused    int      // refused recipients of one connection
	MaxMessages   int      // of one connection
	MaxReceived   int      // Received fields; more is a loop
	RequireTLS    bool     // refuse MAIL without TLS
	SenderRouting bool     // accept addresses that core might route on or run: "victim%gmail.com@ours"
	NoTLS         bool     // STARTTLS should be offered and can't be: a refusal for want of TLS is temporary
}

// lacking refuses what needs more than core takes; the zero reply accepts it. what names the thing
// that needs it.
//
// While nothing is known of core, SMTPUTF8 is refused for now: a notification to a sender who needs
// it could not be delivered either. 8-bit text is taken: nearly every server has 8BITMIME, and a
// notification needs nothing.
func lacking(core mail.CoreExtensions, needs mail.Extensions, what string) mail.Reply {
	switch {
	case needs == 0 || core.Take(needs):
		return mail.Reply{}
	case core == mail.CoreUnknown && needs.Has(mail.SMTPUTF8):
		return reply(451, 4, 3, 0, what+" needs SMTPUTF8, and the mail storage has not yet said whether it supports that, try again later")
	case core == mail.CoreUnknown:
		return mail.Reply{}
	case needs.Has(mail.SMTPUTF8) && !core.Take(mail.SMTPUTF8):
		return reply(550, 5, 6, 7, what+" needs SMTPUTF8, which the mail storage does not support")
	case !core.Take(mail.EightBitMIME):
		return reply(554, 5, 6, 3, what+" has 8-bit text, and the mail storage does not support 8BITMIME")
	}
	return reply(550, 5, 6, 7, what+" needs SMTPUTF8 and 8BITMIME, which the mail storage does not support together")
}

// Mail is what is known at MAIL.
type Mail struct {
	Sender     mail.Path
	Size       int64 // as declared; 0: not
	TLS        bool
	RequireTLS bool // the REQUIRETLS parameter
	SMTPUTF8   bool
	Core       mail.CoreExtensions
	Open       bool  // a transaction is open already
	Messages   int   // accepted on this connection
	Full       error // why the spool takes nothing; nil: it does
}

// Mail is asked at MAIL. The zero reply accepts.
func (r *Rules) Mail(f Mail) mail.Reply {
	switch {
	case f.Open:
		return reply(503, 5, 5, 1, "a transaction is open, RSET ends it")
	case (r.RequireTLS || f.RequireTLS) && !f.TLS && r.NoTLS:
		return reply(451, 4, 7, 0, "TLS is required and not available at the moment, try again later")
	case r.RequireTLS && !f.TLS:
		return reply(530, 5, 7, 0, "STARTTLS first")
	case f.RequireTLS && !f.TLS:
		return reply(530, 5, 7, 0, "REQUIRETLS needs TLS (RFC 8689)")
	case r.MaxMessages > 0 && f.Messages >= r.MaxMessages:
		return reply(421, 4, 7, 0, r.Hostname+" enough messages for one connection, come again")
	case f.Full != nil:
		return reply(452, 4, 3, 1, "no room for mail, try later")
	case r.MaxMessage > 0 && f.Size > r.MaxMessage:
		return reply(552, 5, 3, 4, fmt.Sprintf("larger than the %d octets that are taken", r.MaxMessage))
	case !f.SMTPUTF8 && !f.Sender.IsASCII():
		return reply(553, 5, 6, 7, "sender needs SMTPUTF8")
	case !r.SenderRouting && routes(f.Sender.Local) && r.atCore(f.Sender.Domain):
		// A notification goes to the sender by way of core, which would route it on.
		return reply(550, 5, 1, 7, restrictedText)
	}
	return lacking(f.Core, f.Sender.Needs(), "sender address")
}

// Rcpt is what is known at RCPT.
type Rcpt struct {
	Path       mail.Path
	SMTPUTF8   bool // the transaction's
	Core       mail.CoreExtensions
	Recipients int // accepted in this transaction
	Refused    int // refused on this connection
}

// Rcpt is asked at RCPT. It returns the path to deliver to; the zero reply
// accepts.
func (r *Rules) Rcpt(f Rcpt) (mail.Path, mail.Reply) {
	if r.MaxRefused > 0 && f.Refused >= r.MaxRefused {
		return mail.Path{}, reply(421, 4, 7, 0, r.Hostname+" too many refused recipients")
	}
	if r.MaxRecipients > 0 && f.Recipients >= r.MaxRecipients {
		return mail.Path{}, reply(452, 4, 5, 3, "too many recipients, send the rest in another transaction")
	}
	if !f.SMTPUTF8 && !f.Path.IsASCII() {
		return mail.Path{}, reply(553, 5, 6, 7, "recipient needs SMTPUTF8")
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

// mailbox is the path to deliver to for to, or why there is none.
func (r *Rules) mailbox(to mail.Path) (mail.Path, mail.Reply) {
	if to.IsPostmaster() && (to.Domain == "" || asciiDomain(to.Domain) == asciiDomain(r.Hostname)) {
		// RFC 5321 section 4.5.1: postmaster, with or without our name, exists.
		if to.Domain == "" {
			to.Domain = r.Domains.home(r.Hostname)
		}
		to.Domain = forCore(to.Domain)
		return to, mail.Reply{}
	}
	recipients, ours := r.Domains.Lookup(to.Domain)
	to.Domain = forCore(to.Domain)
	switch {
	case !ours:
		return mail.Path{}, reply(550, 5, 7, 1, "relay access denied")
	case to.IsPostmaster() || recipients.lists(to.Local):
		return to, mail.Reply{}
	case recipients == Unavailable:
		return mail.Path{}, reply(451, 4, 3, 0, "recipients of this domain cannot be verified at the moment, try again later")
	case !r.SenderRouting && restricted(to.Local):
		return mail.Path{}, reply(550, 5, 1, 3, restrictedText)
	case recipients.Has(to.Local):
		return to, mail.Reply{}
	}
	return mail.Path{}, reply(550, 5, 1, 1, "no such mailbox")
}

// atCore reports whether core may take domain for one of its own: those whose mail is accepted, our
// host name, a literal, and a name of one label such as "localhost". Any other domain is one of the
// world's, where a local part is its owner's business.
func (r *Rules) atCore(domain string) bool {
	_, ours := r.Domains.Lookup(domain)
	return ours || !strings.Contains(domain, ".") || domain[0] == '[' || asciiDomain(domain) == asciiDomain(r.Hostname)
}

// restrictedText is what Exim says, so that postmasters find it.
const restrictedText = "restricted characters in address"

// Data is what is known when a message was read to its end.
type Data struct {
	Received int // Received fields that it came with
	Needs    mail.Extensions
	Core     mail.CoreExtensions
}

// Data is asked before a message is committed. The zero reply accepts.
func (r *Rules) Data(f Data) mail.Reply {
	if r.MaxReceived > 0 && f.Received > r.MaxReceived {
		return reply(554, 5, 4, 6, "too many hops, this message is in a loop")
	}
	return lacking(f.Core, f.Needs, "message")
}

func reply(code, class, subject, detail int, text string) mail.Reply {
	return mail.Reply{Code: code, Enhanced: mail.Enhanced{class, subject, detail}, Text: text}
}
