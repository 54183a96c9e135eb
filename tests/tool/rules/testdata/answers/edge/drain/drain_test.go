package drain

import wire "small/edge/operate/api"

// TestRequest makes the error, under another name of its package.
func TestRequest() error { return &wire.Error{Code: "unavailable"} }
