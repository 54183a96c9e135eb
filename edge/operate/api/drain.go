package api

import (
	"fmt"
	"time"
)

// DrainRequest begins a drain, or speeds up one that is under way: POST /v1/drain.
type DrainRequest struct {
	Reason string `json:"reason,omitempty"` // for people; in status and log
	// Now withdraws at once, without the step that announces with GRACEFUL_SHUTDOWN.
	Now bool `json:"now,omitempty"`
	// Until is when the node returns to service by itself; "" is never, not even after restarts. A
	// drain without Until stays so even if a later request has one; a request without it removes it
	// from the current drain.
	Until Until `json:"until,omitempty"`
}

// Until says when a drain ends by itself.
type Until string

// UntilRestart is the next start of anymx-edge: the drain is not written to disk, like the one of a
// normal stop.
const UntilRestart Until = "restart"

// ParseUntil reads an Until; "" is never.
func ParseUntil(s string) (Until, error) {
	switch u := Until(s); u {
	case "", UntilRestart:
		return u, nil
	}
	return "", fmt.Errorf("until %q: want %q, or nothing", s, UntilRestart)
}

// DrainStep is a step of a drain.
type DrainStep string

// The steps, in order. Each has its own time limit in the section [drain].
const (
	StepGraceful DrainStep = "graceful" // announced with GRACEFUL_SHUTDOWN: traffic moves away while packets still arrive
	StepWithdraw DrainStep = "withdraw" // withdrawn; until every peer has acknowledged that
	StepConverge DrainStep = "converge" // stray packets still arrive, and are served
	StepSessions DrainStep = "sessions" // 421 to new sessions; transactions in flight end
	StepFlush    DrainStep = "flush"    // the spool is handed over to core
)

// DrainStatus is a drain, under way or ended. A Status holds it unless the node is in service.
type DrainStatus struct {
	Reason string    `json:"reason,omitempty"`
	Began  time.Time `json:"began,omitzero"`
	Until  Until     `json:"until,omitempty"` // as DrainRequest.Until
	// Stopping says that the process ends after the drain, and that the node is in service again
	// after its next start.
	Stopping bool         `json:"stopping,omitempty"`
	Steps    []StepStatus `json:"steps"` // those begun, in order
	// Sessions and Messages are those left; Held of the messages wait for the operator.
	Sessions int   `json:"sessions"`
	Messages int64 `json:"messages"`
	Held     int64 `json:"held"`
	// Confirmed of Peers, the routers with a session, have acknowledged their current routes.
	Confirmed int `json:"peers_confirmed"`
	Peers     int `json:"peers"`
}

// StepStatus is one step.
type StepStatus struct {
	Step  DrainStep `json:"step"`
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"` // zero: it is under way
	Limit Seconds   `json:"limit_seconds"`
	// Note says what went wrong: a peer that did not acknowledge, sessions that were cut, messages
	// that are left. "": nothing did.
	Note string `json:"note,omitempty"`
}
