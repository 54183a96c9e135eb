package api

import "anymx/edge/config"

// Code tells programs what kind of error it is. The JSON has it beside the text for people.
type Code string

// Codes, each with its HTTP status.
const (
	BadRequest  Code = "bad_request"    // 400
	NotFound    Code = "not_found"      // 404: no message with that id
	NoRoute     Code = "no_route"       // 404: the node does not know this endpoint
	TooLarge    Code = "too_large"      // 413: the request's body
	BadConfig   Code = "invalid_config" // 422: reload found problems and changed nothing
	Internal    Code = "internal"       // 500
	Unavailable Code = "unavailable"    // 503: starting, stopping, or timed out
	Superseded  Code = "superseded"     // 409: a later command is in force, or about to be
)

// Error is what a program answers when it can't do what was requested. Package control makes it from
// what the parts return, and gives it to whoever asked. errors.Is compares an Error by its Code with
// ErrNotFound.
type Error struct {
	Text     string           `json:"error"`
	Code     Code             `json:"code"`
	Problems []config.Problem `json:"problems,omitempty"` // of BadConfig
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// Is compares codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// ErrNotFound is for a Node to return, and for errors.Is.
var ErrNotFound = &Error{Text: "no such message in the queue: it was delivered, deleted, or never here", Code: NotFound}

// Forbidden refuses a user who may open the socket, but not use this endpoint.
const Forbidden Code = "forbidden" // 403
