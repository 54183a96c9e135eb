package mail

import (
	"net/netip"
	"time"
)

// Envelope is what travels beside a message (RFC 5321 section 2.3.1). It is
// written once, when the message is committed, and never changes; what the
// queue learns later stands in the spool's State.
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
	Size       int64  // octets of the stored message, trace header included
	// Content is what was found in the message's bytes while it was taken.
	Content Content
	Client  Client
	Origin  Origin
	// NoDSN forbids any notification to Sender: it failed authentication, so
	// whoever it names did not write this.
	NoDSN bool
}

// Untold is why a sender is not notified of something.
type Untold string

// The reasons of Untold, as logs and metrics name them. Told is none.
const (
	Told            Untold = ""
	NotAsked        Untold = "not asked"          // NOTIFY leaves it out (RFC 3461 section 4.1)
	NullSender      Untold = "null sender"        // a notification itself (RFC 5321 section 6.1)
	SenderForbidden Untold = "sender not genuine" // NoDSN
)

// Untold says why the sender is not notified of what happened to recipient n.
func (e *Envelope) Untold(n int, what Notify) Untold {
	switch {
	case e.Sender.IsNull():
		return NullSender
	case e.NoDSN:
		return SenderForbidden
	case !e.Recipients[n].Notify.Has(what):
		return NotAsked
	}
	return Told
}

// Recipient is one forward-path with what RFC 3461 says of it.
type Recipient struct {
	Path   Path
	Notify Notify // zero: the sender did not say
	// ORcpt is the original recipient as "type;address", decoded, such as
	// "rfc822;a@example.net"; "" if none.
	ORcpt string
}

// Body is the BODY parameter of MAIL (RFC 6152), as declared.
type Body uint8

// The bodies that anymx takes. BINARYMIME (RFC 3030) is not offered.
const (
	Body7Bit Body = iota // also when the sender did not say
	Body8Bit
)

// Return is the RET parameter of MAIL (RFC 3461 section 4.3).
type Return uint8

// How much of the message a failure notification returns.
const (
	ReturnUnset Return = iota // headers
	ReturnFull
	ReturnHeaders
)

// Notify is the set of the NOTIFY parameter of RCPT (RFC 3461 section 4.1).
type Notify uint8

// NotifyNever excludes the others. The zero Notify means that the sender did
// not say: notify of failures, not of success or delay.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Has says whether n asks for what. A zero n asks for failures only.
func (n Notify) Has(what Notify) bool {
	if n == 0 {
		return what == NotifyFailure
	}
	return n&what != 0
}

// Origin says how a message came into the spool.
type Origin uint8

// Origins.
const (
	Inbound  Origin = iota // from the world, for core
	Outbound               // from core, for the world
	Local                  // written here: a notification
)

// Client is who handed the message over, as far as we know for ourselves.
type Client struct {
	Addr    netip.AddrPort // after a PROXY header, the address in it
	Service netip.AddrPort // our end: the service address it connected to
	Helo    string         // as it was said, not verified
	Name    string         // verified host name of Addr, "" if unknown
	Proto   string         // RFC 3848: SMTP, ESMTP, ESMTPS, UTF8SMTPS ...
	TLS     string         // "TLS1.3 TLS_AES_128_GCM_SHA256"; "" without TLS
}
