package mail

import (
	"net/netip"
	"time"
)

// Envelope is the SMTP envelope of a message (RFC 5321 section 2.3.1). It is written once, when the
// message is committed, and never changes. What the queue learns later is stored in the spool's
// State.
type Envelope struct {
	ID         ID
	Arrived    time.Time
	Sender     Path // the zero Path is the null reverse-path
	Recipients []Recipient
	Body       Body
	SMTPUTF8   bool   // RFC 6531, as declared; Needs says whether it is needed
	RequireTLS bool   // RFC 8689: never pass this on without verified TLS
	Return     Return // RFC 3461 RET
	EnvID      string // RFC 3461 ENVID, decoded; "" if none
	// Size is how many bytes are delivered: those of Front and of the stored body, without those
	// that Cuts leaves out. It is what SIZE declares (RFC 1870).
	Size int64
	// Front holds header fields of ours that go in front of the body at delivery: whole lines of
	// ASCII that end in CRLF, Received first. It is empty for a message that this node wrote, and
	// for one that was stored by a version whose bodies begin with Received.
	Front []byte `json:",omitempty"`
	// Cuts are the ranges of the body that are left out at delivery, such as a header field that
	// claims to be ours: sorted, disjoint, not empty, within the body. Each begins and ends at the
	// start of a line.
	Cuts []Span `json:",omitempty"`
	// Tags are words for the mail log and for rules, such as "dnsbl.example".
	Tags []string `json:",omitempty"`
	// Route is the name of the route that the message takes; "" is the usual one.
	Route string `json:",omitempty"`
	// Content is what ContentScan found in the body while the message was received. Front is ASCII
	// and doesn't change it.
	Content Content
	Client  Client
	Origin  Origin
	// NoDSN forbids any notification to Sender: authentication failed, so the sender address may be
	// forged.
	NoDSN bool
}

// NoDSNReason is why no notification goes to the sender.
type NoDSNReason string

// The values of NoDSNReason, as they appear in logs. DSNAllowed means that the sender is notified.
const (
	DSNAllowed       NoDSNReason = ""
	NotRequested     NoDSNReason = "not requested"       // excluded by NOTIFY (RFC 3461 section 4.1)
	NullSender       NoDSNReason = "null sender"         // the message is itself a notification (RFC 5321 section 6.1)
	SenderUnverified NoDSNReason = "sender not verified" // Envelope.NoDSN
)

// NoDSNReason returns why the sender is not notified of an event of recipient n, or DSNAllowed.
func (e *Envelope) NoDSNReason(n int, event Notify) NoDSNReason {
	switch {
	case e.Sender.IsNull():
		return NullSender
	case e.NoDSN:
		return SenderUnverified
	case !e.Recipients[n].Notify.Has(event):
		return NotRequested
	}
	return DSNAllowed
}

// Leg is the part of a message that goes to one destination.
type Leg struct {
	Destination string // "" is the default core
	Recipients  []int  // indexes into Envelope.Recipients, ascending; nil means all
}

// Recipient is one forward-path with its DSN parameters (RFC 3461).
type Recipient struct {
	Path   Path
	Notify Notify // zero: no NOTIFY parameter
	// ORcpt is the original recipient as "type;address", decoded, such as
	// "rfc822;a@example.net"; "" if none.
	ORcpt string
}

// Body is the BODY parameter of MAIL (RFC 6152), as declared.
type Body uint8

// The values that anymx accepts. It doesn't offer BINARYMIME (RFC 3030).
const (
	Body7Bit Body = iota // also without a BODY parameter
	Body8Bit
)

// Return is the RET parameter of MAIL (RFC 3461 section 4.3).
type Return uint8

// Values of Return: how much of the message a failure notification returns.
const (
	ReturnUnset Return = iota // headers
	ReturnFull
	ReturnHeaders
)

// Notify is the set of the NOTIFY parameter of RCPT (RFC 3461 section 4.1).
type Notify uint8

// NotifyNever excludes the others. The zero Notify means that there was no NOTIFY parameter: notify
// of failures, but not of success or delay.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Has reports whether n asks for notifications of event. A zero n asks for failures only.
func (n Notify) Has(event Notify) bool {
	if n == 0 {
		return event == NotifyFailure
	}
	return n&event != 0
}

// Origin says how a message came into the spool.
type Origin uint8

// Origins.
const (
	Inbound  Origin = iota // from the Internet, for core
	Outbound               // from core, for the Internet
	Local                  // written by this node: a notification
)

// Client is the client that sent the message, as far as this node could observe.
type Client struct {
	Addr    netip.AddrPort // the address in the PROXY header, if there was one
	Service netip.AddrPort // the service address that it connected to
	Helo    string         // as given by the client, not verified
	Name    string         // verified host name of Addr, "" if unknown
	Proto   string         // RFC 3848: SMTP, ESMTP, ESMTPS, UTF8SMTPS ...
	TLS     string         // "TLS1.3 TLS_AES_128_GCM_SHA256"; "" without TLS
}
