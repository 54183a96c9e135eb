package api

import (
	"anymx/edge/mail"
)

// SelfTest is the result of a self-test, in which a node sends itself a message through each of its
// listeners and reads it back from its spool: POST /v1/self-test. An answer means that it passed; a
// failure is an *Error with the code Unavailable, which says where and why.
type SelfTest struct {
	Listeners []SelfTestListener `json:"listeners"`
	// Refusing tells why mail is refused although the self-test passed, such as a spool full of
	// mail that waits for core; "": mail is accepted.
	Refusing string `json:"refusing,omitempty"`
}

// SelfTestListener is a listener of ingress that has accepted a test message. Nothing of it is
// left.
type SelfTestListener struct {
	Address string  `json:"address"`      // on which it listens: "[::]:25"
	ID      mail.ID `json:"id"`           // of the message in the spool
	Bytes   int64   `json:"bytes"`        // in the spool, including the trace field
	Took    Seconds `json:"took_seconds"` // from the connection to its end
}
