package queue

import (
	"context"
	"fmt"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// Courier carries messages to where they go.
type Courier interface {
	// Deliver tries the pending recipients of t's message and returns one
	// Result for each, in any order; a recipient without one is tried again
	// later. An error means that there is no result at all: *Down says that no
	// message can go now, a *mail.Failure holds for each recipient, and any
	// other error is taken for a temporary failure of this message. Errors may
	// be wrapped.
	//
	// It is called from up to Options.Concurrency goroutines, must return soon
	// after ctx has ended, and must not keep t.
	Deliver(ctx context.Context, t *Try) ([]mail.Result, error)
}

// Try is one try for one message.
type Try struct {
	Message *spool.Message
	Pending []int     // indexes into the envelope's Recipients; not to be changed
	Attempt int       // 1 for the first
	Started time.Time // by the queue's clock
}

// Down is the error of a courier that can deliver nothing at all at present.
type Down struct {
	Until time.Time // when it is worth another try; a second from now at least
	Cause error
}

// Error names the cause.
func (d *Down) Error() string { return fmt.Sprintf("destination is down: %v", d.Cause) }

// Unwrap gives the cause.
func (d *Down) Unwrap() error { return d.Cause }
