package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"syscall"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/refusal"
)

// httpStatus returns the HTTP status of a code.
func httpStatus(c api.Code) int {
	switch c {
	case api.BadRequest:
		return http.StatusBadRequest
	case api.NotFound, api.NoRoute:
		return http.StatusNotFound
	case api.TooLarge:
		return http.StatusRequestEntityTooLarge
	case api.Forbidden:
		return http.StatusForbidden
	case api.BadConfig:
		return http.StatusUnprocessableEntity
	case api.Superseded:
		return http.StatusConflict
	case api.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func badRequest(err error) *api.Error { return &api.Error{Text: err.Error(), Code: api.BadRequest} }

// codeOf returns the code of a kind of refusal.
func codeOf(k refusal.Kind) api.Code {
	switch k {
	case refusal.Invalid:
		return api.BadRequest
	case refusal.NotFound:
		return api.NotFound
	case refusal.Forbidden:
		return api.Forbidden
	case refusal.Conflict:
		return api.Superseded
	case refusal.Unavailable:
		return api.Unavailable
	}
	return api.Internal
}

// asError converts an error that a Node, or a function of an Endpoint, returned into an answer. It is
// the only place where errors of the parts get a code.
func asError(err error) *api.Error {
	var refused *refusal.Error
	if errors.As(err, &refused) {
		return &api.Error{Text: refused.Error(), Code: codeOf(refused.Kind)}
	}
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	var bad *config.Errors
	if errors.As(err, &bad) {
		text := "the config has 1 problem; nothing was changed"
		if n := len(bad.Problems); n != 1 {
			text = fmt.Sprintf("the config has %d problems; nothing was changed", n)
		}
		return &api.Error{Text: text, Code: api.BadConfig, Problems: bad.Problems}
	}
	if isTimeout(err) {
		return &api.Error{Text: "the node could not answer in time: " + err.Error(), Code: api.Unavailable}
	}
	return &api.Error{Text: err.Error(), Code: api.Internal}
}

// Unreachable is the error of a client whose socket did not answer. Its text says what to do.
type Unreachable struct {
	Socket  string
	Program string // the one that should answer: "anymx-bgp"; "" means anymx-edge
	Cause   error
}

// Error says what failed and what to check.
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

// Unwrap returns the cause.
func (u *Unreachable) Unwrap() error { return u.Cause }

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
