package policy

import (
	"context"

	"anymx/edge/mail"
)

// Stage is a point of a session at which it is judged. Later stages know more.
type Stage uint8

// The stages, in their order.
const (
	AtConnect Stage = iota // before the banner
	AtHelo                 // EHLO or HELO
	AtMail                 // MAIL
	AtRcpt                 // each RCPT
	AtHeader               // the header of the message has come
	AtBody                 // all of the message has come, and nothing is promised yet
	stages
)

// Facts are what is known of a session at a stage. What a stage adds stays for those after it.
type Facts struct {
	Client     mail.Client  // from AtHelo on with its name, from AtMail on with its protocol
	Sender     mail.Path    // from AtMail on
	Recipient  mail.Path    // at AtRcpt: the one in question, as it will be delivered
	Recipients int          // accepted before
	Header     *mail.Header // from AtHeader on
	Size       int64        // at AtBody: bytes of the message, without our trace field
}

// Action says what becomes of the mail.
type Action uint8

const (
	Accept  Action = iota // nothing stands against it
	Refuse                // the client gets the verdict's reply, a 4xx or 5xx
	Discard               // the client is told that it was stored, and it is not
)

// Verdict is what a check thinks. The zero Verdict accepts and adds nothing.
type Verdict struct {
	Action
	Reply   mail.Reply // of Refuse. 421 ends the connection.
	Headers []string   // lines to put in front of the message at delivery, without CRLF: "X-Spam: yes"
	Tags    []string   // words for the mail log and for rules: "dnsbl.example"
	Route   string     // name of the route that the message takes; "": the usual one
	NoDSN   bool       // nobody is notified if the message can't be delivered: its sender may be forged
}

// Check judges a client at a stage. It may wait, for DNS say, as long as the client can: ctx ends with
// the server. It must not keep f.
type Check func(ctx context.Context, f *Facts) Verdict

// Checks are those of each stage, in the order in which they are asked. The zero Checks accept all.
type Checks [stages][]Check

// Add makes c one of the checks at a stage.
func (cs *Checks) Add(at Stage, c Check) { cs[at] = append(cs[at], c) }

// Ask asks the checks of a stage, until one does not accept, and adds what they say to v, which holds
// what the stages before have said.
func (cs *Checks) Ask(ctx context.Context, at Stage, f *Facts, v *Verdict) {
	for _, check := range cs[at] {
		if v.add(check(ctx, f)); v.Action == Refuse {
			return
		}
	}
}

// add merges another verdict into v. A discarded message may still be refused, which its sender hears.
func (v *Verdict) add(w Verdict) {
	if w.Action != Accept && v.Action != Refuse {
		v.Action, v.Reply = w.Action, w.Reply
	}
	v.Headers = append(v.Headers[:len(v.Headers):len(v.Headers)], w.Headers...)
	v.Tags = append(v.Tags[:len(v.Tags):len(v.Tags)], w.Tags...)
	if w.Route != "" {
		v.Route = w.Route
	}
	v.NoDSN = v.NoDSN || w.NoDSN
}
