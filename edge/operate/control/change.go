package control

import (
	"errors"
	"fmt"
	"strings"

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

// maxRefusal bounds Refusal.Reason, in characters.
const maxRefusal = 300

// maxReason bounds what an operator gives as a reason, in octets.
const maxReason = 200

// Change names the messages to act on: either IDs, or All that the query
// means, a page at a time. With All, Query.Limit and Query.After say which
// page, and the answer's Next is the After of the next one.
type Change struct {
	IDs    []mail.ID `json:"ids,omitempty"` // at most MaxPage
	All    bool      `json:"all,omitempty"`
	Reason string    `json:"reason,omitempty"` // of Hold: one line, at most 200 octets
	QueueQuery
}

// check says what is wrong with c as a request for action a.
func (c *Change) check(a Action) error {
	plain := QueueQuery{} // what may stand beside ids
	switch {
	case c.All && len(c.IDs) > 0:
		return fmt.Errorf(`give either "ids" or "all"`)
	case !c.All && len(c.IDs) == 0:
		return fmt.Errorf(`give "ids", or "all": true`)
	case !c.All && c.QueueQuery != plain:
		return fmt.Errorf(`state, sender, recipient, before, after and limit go with "all"`)
	case len(c.IDs) > MaxPage:
		return fmt.Errorf("%d ids in one request; at most %d", len(c.IDs), MaxPage)
	case c.Limit < 0:
		return fmt.Errorf("limit %d is not a number of messages", c.Limit)
	case c.Reason != "" && a != Hold:
		return fmt.Errorf("a reason goes with hold alone")
	}
	if err := checkReason(c.Reason); err != nil {
		return err
	}
	_, err := ParseState(string(c.State))
	return err
}

// checkReason says what is wrong with an operator's reason.
func checkReason(reason string) error {
	switch {
	case len(reason) > maxReason:
		return badRequest(fmt.Errorf("the reason is %d octets long; at most %d", len(reason), maxReason))
	case reason != Clean(reason) || strings.TrimSpace(reason) != reason:
		return badRequest(errors.New("the reason must be one line of text without control characters"))
	}
	return nil
}

// Outcome is what a Node did with the messages of a change. An id that stands
// in none of the lists failed, for the reason in the error beside it.
type Outcome struct {
	// Done are as they were asked to be, those that were so before included.
	Done []mail.ID
	// Later are being tried. It is done when the try has ended, unless the
	// message has ended with it.
	Later []mail.ID
	// Missing are not in the queue.
	Missing []mail.ID
}

// Changed is what became of a Change.
type Changed struct {
	// Messages are those that were acted on, as they were before.
	Messages []QueueItem `json:"messages"`
	// Later are those that are being tried, as Outcome.Later.
	Later []QueueItem `json:"later"`
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

// newChanged tells what became of ids, which were the messages of items before.
// err is what the node gave beside the outcome. With all, the ids were not asked
// for by name, so those that have left the queue meanwhile are not missed.
func newChanged(ids []mail.ID, items map[mail.ID]QueueItem, o Outcome, err error, all bool) Changed {
	c := Changed{Messages: []QueueItem{}, Later: []QueueItem{}, Refused: []Refusal{}}
	told := map[mail.ID]bool{}
	for _, id := range o.Done {
		c.Messages = append(c.Messages, itemOf(id, items))
		told[id] = true
	}
	for _, id := range o.Later {
		c.Later = append(c.Later, itemOf(id, items))
		told[id] = true
	}
	for _, id := range o.Missing {
		if !all {
			c.Refused = append(c.Refused, Refusal{ID: id, Code: NotFound, Reason: ErrNotFound.Text})
		}
		told[id] = true
	}
	for _, id := range ids {
		if !told[id] && err != nil {
			e := asError(err) // may tell of all that failed
			c.Refused = append(c.Refused, Refusal{ID: id, Code: e.Code, Reason: cut(Clean(e.Text), maxRefusal)})
			told[id] = true
		}
	}
	return c
}

func itemOf(id mail.ID, items map[mail.ID]QueueItem) QueueItem {
	if item, ok := items[id]; ok {
		return item
	}
	return QueueItem{ID: id, Arrived: id.Time()} // it could not be read
}
