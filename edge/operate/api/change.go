package api

import (
	"fmt"

	"anymx/edge/mail"
)

// Action is what can be done to messages of the queue. Each is idempotent: a
// message that is that way already counts as done.
type Action string

// Actions.
const (
	Flush   Action = "flush"   // due now; a held message stays held
	Hold    Action = "hold"    // keep it and don't try, until Release or Delete
	Release Action = "release" // no longer held, and due now
	Delete  Action = "delete"  // forget it; nobody is told
)

// ParseAction reads an Action.
func ParseAction(s string) (Action, error) {
	switch a := Action(s); a {
	case Flush, Hold, Release, Delete:
		return a, nil
	}
	return "", fmt.Errorf("action %q: want flush, hold, release or delete", s)
}

// Change names the messages to act on: either IDs, or All that the query
// means, a page at a time. With All, Query.Limit and Query.After say which
// page, and the answer's Next is the After of the next one.
type Change struct {
	IDs    []mail.ID `json:"ids,omitempty"` // at most MaxPage
	All    bool      `json:"all,omitempty"`
	Reason string    `json:"reason,omitempty"` // of Hold: one line, at most 200 octets
	QueueQuery
}

// Outcome is what a Node did with the messages of a change. An id that stands
// in none of the lists failed, for the reason in the error beside it.
type Outcome struct {
	// Done are as they were asked to be, those that were so before included.
	Done []mail.ID
	// Pending are being tried. It is done when the try has ended, unless the
	// message has ended with it.
	Pending []mail.ID
	// Missing are not in the queue.
	Missing []mail.ID
}

// Changed is what became of a Change.
type Changed struct {
	// Messages are those that were acted on, as they were before.
	Messages []QueueItem `json:"messages"`
	// Pending are those that are being tried, as Outcome.Pending.
	Pending []QueueItem `json:"pending"`
	// Refused are those that could not be acted on; the others were.
	Refused []Refusal `json:"refused"`
	// Next is set with Change.All when there are more pages.
	Next mail.ID `json:"next,omitzero"`
}

// Refusal is why one message was left as it was.
type Refusal struct {
	ID     mail.ID `json:"id"`
	Code   Code    `json:"code"` // NotFound, Internal
	Reason string  `json:"reason"`
}
