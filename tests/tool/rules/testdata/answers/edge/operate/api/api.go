// Package api holds types.
package api

// Error is an error with a code.
type Error struct{ Code string }

// Error returns the code.
func (e *Error) Error() string { return e.Code }
