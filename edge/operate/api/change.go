package api

import (
	"fmt"

	"anymx/edge/mail"
)

// Action is what can be done to messages of the queue. Each is idempotent: a message that is
// already in the wanted state counts as done.
type Action string

// Actions.
const (
	Flush   Action = "flush"   // due now; a held message stays held
	Hold    Action = "hold"    // keep it without attempts, until Release or Delete
	Release Action = "release" // no longer held, and due now
	Delete  Action = "delete"  // remove it without a notification
)

// ParseAction reads an Action.
func ParseAction(s string) (Action, error) {
	switch a := Action(s); a {
	case Flush, Hold, Release, Delete:
		return a, nil
	}
	return "", fmt.Errorf("action %q: want flush, hold, release or delete", s)
}

// Change selects the messages to act on: either IDs, or All that match the query, a page at a time.
// With All, Query.Limit and Query.After select the page, and the answer's Next is the After of the
// next one.
type Change struct {
	IDs    []mail.ID `json:"ids,omitempty"` // at most MaxPage
	All    bool      `json:"all,omitempty"`
	Reason string    `json:"reason,omitempty"` // of Hold: one line, at most 200 bytes
	QueueQuery
}

// Outcome is what a Node did with the messages of a change. An id in none of the lists failed, for
// the reason in the error returned with it.
type Outcome struct {
	// Done are now as requested, including those that were so before.
	Done []mail.ID
	// Pending are being attempted. The change is applied when the attempt has ended, unless the
	// message has left the queue with it.
	Pending []mail.ID
	// Missing are not in the queue.
	Missing []mail.ID
}

// Changed is the result of a Change.
type Changed struct {
	// Messages are those acted on, in their state before the change.
	Messages []QueueItem `json:"messages"`
	// Pending are those being attempted, as in Outcome.Pending.
	Pending []QueueItem `json:"pending"`
	// Refused are those that could not be changed; the others were.
	Refused []Refusal `json:"refused"`
	// Next is set with Change.All when there are more pages.
	Next mail.ID `json:"next,omitzero"`
}

// Refusal tells why one message was left unchanged.
type Refusal struct {
	ID     mail.ID `json:"id"`
	Code   Code    `json:"code"` // NotFound, Internal
	Reason string  `json:"reason"`
}
