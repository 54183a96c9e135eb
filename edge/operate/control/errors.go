package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"syscall"

	"anymx/edge/config"
)

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
	Overtaken   Code = "overtaken"      // 409: a later order is in force, or about to be
)

// httpStatus is the HTTP status of a code.
func (c Code) httpStatus() int {
	switch c {
	case BadRequest:
		return http.StatusBadRequest
	case NotFound, NoRoute:
		return http.StatusNotFound
	case TooLarge:
		return http.StatusRequestEntityTooLarge
	case Forbidden:
		return http.StatusForbidden
	case BadConfig:
		return http.StatusUnprocessableEntity
	case Overtaken:
		return http.StatusConflict
	case Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

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

func badRequest(err error) *Error { return &Error{Text: err.Error(), Code: BadRequest} }

// asError is the answer for an error that a Node returned.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	var bad *config.Errors
	if errors.As(err, &bad) {
		text := "the config has 1 problem; nothing was changed"
		if n := len(bad.Problems); n != 1 {
			text = fmt.Sprintf("the config has %d problems; nothing was changed", n)
		}
		return &Error{Text: text, Code: BadConfig, Problems: bad.Problems}
	}
	if isTimeout(err) {
		return &Error{Text: "the node could not answer in time: " + err.Error(), Code: Unavailable}
	}
	return &Error{Text: err.Error(), Code: Internal}
}

// Unreachable is the error of a client whose socket nobody answered on. Its
// text says what to do.
type Unreachable struct {
	Socket  string
	Program string // that should answer: "anymx-bgp"; "" means anymx-edge
	Cause   error
}

// Error says what was tried and what to look at.
func (u *Unreachable) Error() string {
	who, program := "no node", "anymx-edge"
	if u.Program != "" {
		who, program = "no "+u.Program, u.Program
	}
	running := "Is " + program + " running (systemctl status " + program + ")?"
	s := who + " answers on " + u.Socket + ": "
	switch {
	case errors.Is(u.Cause, fs.ErrNotExist):
		s += "there is no such socket. " + running
		if u.Program == "" {
			s += " If its socket is elsewhere, give --control or --config"
		}
	case errors.Is(u.Cause, syscall.ECONNREFUSED):
		s += "the program that made the socket has ended. " + running
	case errors.Is(u.Cause, fs.ErrPermission):
		s += "permission denied. Run this as root or as a member of the socket's group (ls -l " + u.Socket + ")"
	case isTimeout(u.Cause):
		s += "it took the connection but gave no answer in time. Is the machine or its disk overloaded? " +
			"Look at the log (journalctl -u " + program + ")"
	default:
		s += strings.TrimSpace(u.Cause.Error()) + ". Is it " + program + " that listens there (ls -l " + u.Socket + ")?"
	}
	return s
}

// Unwrap gives the cause.
func (u *Unreachable) Unwrap() error { return u.Cause }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
