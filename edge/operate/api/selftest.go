package api

import (
	"anymx/edge/mail"
)

// SelfTest is what a node has found out by sending itself a message through each of
// its listeners, and reading it back from its spool: POST /v1/self-test. That a
// message went through all of it is the answer itself; one that did not is an
// *Error with the code Unavailable, which says where and why.
type SelfTest struct {
	Listeners []SelfTestListener `json:"listeners"`
	// Refusing is why mail is refused all the same, as where the spool is full of
	// what waits for core; "": it is taken.
	Refusing string `json:"refusing,omitempty"`
}

// SelfTestListener is a listener of ingress that has taken a message. Nothing is
// left of that.
type SelfTestListener struct {
	Address string  `json:"address"`      // on which it listens: "[::]:25"
	ID      mail.ID `json:"id"`           // that the message had in the spool
	Bytes   int64   `json:"bytes"`        // in the spool, the trace field included
	Took    Seconds `json:"took_seconds"` // from the connection to its end
}
