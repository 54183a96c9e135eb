// Package refusal says why a part refuses a request, as a kind that programs can act on.
//
// What happens to the data: a part wraps the reason in an Error of a Kind where it refuses. The error
// goes up like any other, and whoever answers the request finds the kind with errors.As and turns it
// into a code of its protocol: package control does so for HTTP. An error without a kind is a failure
// of the part itself.
package refusal

import "fmt"

// Kind is why a request is refused.
type Kind string

// Kinds.
const (
	Invalid     Kind = "invalid request"
	NotFound    Kind = "not found"
	Forbidden   Kind = "forbidden"   // the caller may not do this
	Conflict    Kind = "conflict"    // another request holds, or is being carried out
	Unavailable Kind = "unavailable" // a later attempt may succeed
)

// Error is a refusal. Its text is that of the reason alone.
type Error struct {
	Kind   Kind
	Reason error
}

// Error returns the text of the reason.
func (e *Error) Error() string { return e.Reason.Error() }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Reason }

// Wrap makes reason a refusal of kind k. Nil stays nil.
func (k Kind) Wrap(reason error) error {
	if reason == nil {
		return nil
	}
	return &Error{Kind: k, Reason: reason}
}

// Errorf makes a refusal of kind k with a reason that is formatted as by fmt.Errorf.
func (k Kind) Errorf(format string, args ...any) error {
	return &Error{Kind: k, Reason: fmt.Errorf(format, args...)}
}
