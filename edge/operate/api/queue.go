package api

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"anymx/edge/mail"
)

// State is what the queue currently does with a message.
type State string

// States of a message. The empty State, in a query, matches any.
const (
	Active  State = "active"  // an attempt is under way, or about to begin
	Waiting State = "waiting" // for its next attempt
	Held    State = "held"    // by an operator, until it is released or deleted
)

// ParseState reads a State; "" matches any.
func ParseState(s string) (State, error) {
	switch state := State(s); state {
	case "", Active, Waiting, Held:
		return state, nil
	}
	return "", fmt.Errorf("state %q: want active, waiting or held", s)
}

// Progress is the delivery state of one recipient.
type Progress string

// Progress of a recipient.
const (
	Pending   Progress = "pending"
	Delivered Progress = "delivered"
	Failed    Progress = "failed" // permanently; the sender was notified, if allowed
	Ended     Progress = "ended"  // delivered or failed, in a leg of which nothing is left
)

// QueueItem is one leg as a list shows it: the recipients of a message that go to one destination.
type QueueItem struct {
	ID          mail.ID   `json:"id"`                    // of the message
	Leg         int       `json:"leg,omitempty"`         // its number
	Destination string    `json:"destination,omitempty"` // "" is the default core
	State       State     `json:"state"`
	Arrived     time.Time `json:"arrived"`
	Size        int64     `json:"size"`       // bytes
	Sender      mail.Path `json:"sender"`     // "" is the null sender
	Recipient   mail.Path `json:"recipient"`  // the first that is pending
	Recipients  int       `json:"recipients"` // of the leg
	Pending     int       `json:"pending"`
	Attempts    int       `json:"attempts"`               // begun
	NextAttempt time.Time `json:"next_attempt,omitzero"`  // of a waiting message
	LastFailure string    `json:"last_failure,omitempty"` // one line
	HoldReason  string    `json:"hold_reason,omitempty"`
	Waits       string    `json:"waits,omitempty"` // why a waiting leg that is due waits; one line
}

// QueuePage is one page of a list.
type QueuePage struct {
	Items []QueueItem `json:"items"`
	// Next is the After of the next page; zero: this was the last. A page may be short, or empty,
	// though more follow: a node may stop early if few of many messages match.
	Next mail.ID `json:"next,omitzero"`
}

// QueueDetail is all that the node knows of one message except its content.
type QueueDetail struct {
	QueueItem
	LastAttempt time.Time         `json:"last_attempt,omitzero"`
	Expires     time.Time         `json:"expires,omitzero"`
	Origin      string            `json:"origin"` // inbound, outbound, local
	Body        string            `json:"body"`   // 7BIT, 8BITMIME
	SMTPUTF8    bool              `json:"smtputf8"`
	RequireTLS  bool              `json:"require_tls"`
	Return      string            `json:"ret,omitempty"`   // FULL, HDRS
	EnvID       string            `json:"envid,omitempty"` // RFC 3461 ENVID, decoded
	NoDSN       bool              `json:"no_dsn"`          // its sender is never notified
	Client      ClientDetail      `json:"client"`
	Legs        []QueueItem       `json:"legs,omitempty"` // those that are left, if there are several
	To          []RecipientDetail `json:"to"`             // in the order of the envelope
}

// ClientDetail describes the client that sent the message to us.
type ClientDetail struct {
	Address string `json:"address"`           // with port
	Service string `json:"service,omitempty"` // our end, with port
	Name    string `json:"name,omitempty"`    // verified host name
	Helo    string `json:"helo,omitempty"`    // as the client sent it
	Proto   string `json:"proto,omitempty"`   // ESMTPS ...
	TLS     string `json:"tls,omitempty"`     // version and cipher
}

// RecipientDetail is one recipient of a message.
type RecipientDetail struct {
	Address  mail.Path `json:"address"`
	Progress Progress  `json:"progress"`
	Notify   string    `json:"notify,omitempty"` // "SUCCESS,FAILURE"; "" if the sender did not set it
	ORcpt    string    `json:"orcpt,omitempty"`
	Last     string    `json:"last,omitempty"` // the last failure, or the reply that accepted it; one line
	At       time.Time `json:"at,omitzero"`    // of Last
}

// Page sizes, in messages.
const (
	DefaultPage = 100
	MaxPage     = 1000 // a larger limit is cut to this
)

// DefaultCore is the name of the default core in a QueueQuery, where "" is any destination.
const DefaultCore = "core"

// QueueQuery selects messages, and a page of them. The zero query is the first page of all.
type QueueQuery struct {
	State     State   `json:"state,omitempty"`
	Sender    Pattern `json:"sender,omitzero"`
	Recipient Pattern `json:"recipient,omitzero"` // one of them matches
	// Destination selects the legs to one destination, as QueueItem has it; DefaultCore for the default
	// core, "" for any.
	Destination string    `json:"destination,omitempty"`
	Before      time.Time `json:"before,omitzero"` // arrived before that
	After       mail.ID   `json:"after,omitzero"`  // the page begins after this message
	Limit       int       `json:"limit,omitempty"` // messages; 0: DefaultPage
}

// Page returns the effective limit.
func (q QueueQuery) Page() int {
	if q.Limit <= 0 {
		return DefaultPage
	}
	return min(q.Limit, MaxPage)
}

// Match reports whether the query selects a message. It ignores After and Limit, which select the
// page. to returns all recipients of the message; it is called only if the query names one.
func (q QueueQuery) Match(item *QueueItem, to func() []mail.Path) bool {
	switch {
	case q.State != "" && q.State != item.State,
		!q.Before.IsZero() && !item.Arrived.Before(q.Before),
		q.Destination != "" && q.Destination != cmp.Or(item.Destination, DefaultCore),
		!q.Sender.Match(item.Sender):
		return false
	case q.Recipient.IsZero():
		return true
	}
	for _, p := range to() {
		if q.Recipient.Match(p) {
			return true
		}
	}
	return false
}

// Values returns the query as URL parameters.
func (q QueueQuery) Values() url.Values {
	v := url.Values{}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	set("state", string(q.State))
	set("sender", q.Sender.String())
	set("recipient", q.Recipient.String())
	set("destination", q.Destination)
	if !q.Before.IsZero() {
		set("before", q.Before.Format(time.RFC3339Nano))
	}
	if !q.After.IsZero() {
		set("after", q.After.String())
	}
	if q.Limit != 0 {
		set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// ParseQuery reads what Values wrote. An unknown parameter is an error, because ignoring a mistyped
// one would select more messages than intended.
func ParseQuery(v url.Values) (QueueQuery, error) {
	var q QueueQuery
	for key, values := range v {
		if len(values) != 1 {
			return QueueQuery{}, fmt.Errorf("parameter %q stands %d times", key, len(values))
		}
		value, err := values[0], error(nil)
		switch key {
		case "state":
			q.State, err = ParseState(value)
		case "sender":
			q.Sender, err = ParsePattern(value)
		case "recipient":
			q.Recipient, err = ParsePattern(value)
		case "destination":
			q.Destination = value
		case "before":
			q.Before, err = time.Parse(time.RFC3339Nano, value)
		case "after":
			q.After, err = mail.ParseID(value)
		case "limit":
			q.Limit, err = strconv.Atoi(value)
			if err != nil || q.Limit < 1 {
				err = fmt.Errorf("%q is not a number of messages", value)
			}
		default:
			err = fmt.Errorf("unknown; known are state, sender, recipient, destination, before, after and limit")
		}
		if err != nil {
			return QueueQuery{}, fmt.Errorf("parameter %q: %w", key, err)
		}
	}
	return q, nil
}
