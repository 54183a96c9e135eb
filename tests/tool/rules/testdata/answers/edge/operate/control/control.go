// Package control answers.
package control

import "small/edge/operate/api"

// Answer may make the error.
func Answer() error { return &api.Error{Code: "internal"} }
