package api

import "anymx/edge/config"

// Code tells programs what kind of error it is. It stands in the JSON beside
// the text for people.
type Code string

// Codes, and the HTTP status that each comes with.
const (
	BadRequest  Code = "bad_request"    // 400
	NotFound    Code = "not_found"      // 404: no message with that id
	NoRoute     Code = "no_route"       // 404: the node does not know this request
	TooLarge    Code = "too_large"      // 413: the request's body
	BadConfig   Code = "invalid_config" // 422: reload found problems and changed nothing
	Internal    Code = "internal"       // 500
	Unavailable Code = "unavailable"    // 503: starting, stopping, or out of time
	Superseded  Code = "superseded"     // 409: a later order is in force, or about to be
)

// Error is what the node answers instead of what was asked for. A Node returns
// one to choose the code; any other error it returns is sent as Internal.
// errors.Is compares an Error by its Code with ErrNotFound.
type Error struct {
	Text     string           `json:"error"`
	Code     Code             `json:"code"`
	Problems []config.Problem `json:"problems,omitempty"` // of BadConfig
}

// Error is the text.
func (e *Error) Error() string { return e.Text }

// Is compares codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// ErrNotFound is for a Node to return, and to test for with errors.Is.
var ErrNotFound = &Error{Text: "no such message in the queue: it was delivered, deleted, or never here", Code: NotFound}

// Forbidden refuses somebody who may open the socket, but not ask for this.
const Forbidden Code = "forbidden" // 403
