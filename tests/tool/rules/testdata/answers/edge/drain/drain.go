// Package drain refuses in the words of the control socket.
package drain

import wire "small/edge/operate/api"

// Request makes the error, under another name of its package.
func Request() error { return &wire.Error{Code: "unavailable"} }
