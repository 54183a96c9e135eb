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
	// Deliver attempts the pending recipients of a leg and returns one Result for each, in any order;
	// a recipient without one is attempted again later. An error means that there is no result at all:
	// *Down says that nothing can go to the destination now, a *mail.Failure holds for each recipient,
	// and any other error is a temporary failure of this message. Errors may be wrapped.
	//
	// It is called from up to Options.Concurrency goroutines, must return soon after ctx has ended,
	// and must not keep a.
	Deliver(ctx context.Context, a *Attempt) ([]mail.Result, error)
	// Reach finds out whether a destination that was *Down can be reached, without a message. The
	// error is a *Down if it can't.
	Reach(ctx context.Context, destination string) error
}

// Attempt is one attempt to deliver one leg.
type Attempt struct {
	Message     *spool.Message
	Leg         int       // its number
	Destination string    // "" is the default core
	Pending     []int     // indexes into the envelope's Recipients; not to be changed
	Number      int       // 1 for the first
	Started     time.Time // by the queue's clock
}

// Down is the error of a courier that can deliver nothing to a destination at present.
type Down struct {
	Until time.Time // when it is worth asking again; a second from now at least
	Cause error
}

// Error names the cause.
func (d *Down) Error() string { return fmt.Sprintf("destination is down: %v", d.Cause) }

// Unwrap returns the cause.
func (d *Down) Unwrap() error { return d.Cause }
