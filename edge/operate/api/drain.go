package api

import (
	"fmt"
	"time"
)

// DrainRequest begins a drain, or hurries one that is under way: POST /v1/drain.
type DrainRequest struct {
	Reason string `json:"reason,omitempty"` // for people; in status and log
	// Now withdraws at once: the routes are not announced with GRACEFUL_SHUTDOWN before.
	Now bool `json:"now,omitempty"`
	// Until is when the node comes back into service by itself: "" is never, also
	// not over restarts. A drain without Until keeps that also if a later request
	// has one; a request without it takes it from the drain that there is.
	Until Until `json:"until,omitempty"`
}

// Until says when a drain ends by itself.
type Until string

// UntilRestart is the next start of anymx-edge: nothing about the drain is on
// disk, as nothing is about the one that a stop walks.
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

// The steps, in order. Each has a time of its own in the section [drain].
const (
	StepGraceful DrainStep = "graceful" // announced with GRACEFUL_SHUTDOWN: traffic moves away while packets still arrive
	StepWithdraw DrainStep = "withdraw" // withdrawn; until every peer has acknowledged it
	StepConverge DrainStep = "converge" // strays still arrive, and are served
	StepSessions DrainStep = "sessions" // 421 to what is new; transactions in flight end
	StepFlush    DrainStep = "flush"    // the spool is handed over to core
)

// DrainStatus is a drain under way, or ended: it stands in a Status unless the
// node is in service.
type DrainStatus struct {
	Reason string    `json:"reason,omitempty"`
	Began  time.Time `json:"began,omitzero"`
	Until  Until     `json:"until,omitempty"` // as DrainRequest.Until
	// Stopping says that the process ends after it, and that it is in service
	// again when it is started again.
	Stopping bool         `json:"stopping,omitempty"`
	Steps    []StepStatus `json:"steps"` // those begun, in order
	// Sessions and Messages are left; Held of the messages wait for the operator.
	Sessions int   `json:"sessions"`
	Messages int64 `json:"messages"`
	Held     int64 `json:"held"`
	// Confirmed of Peers routers with a session have acknowledged what they are to be told.
	Confirmed int `json:"peers_confirmed"`
	Peers     int `json:"peers"`
}

// StepStatus is one step.
type StepStatus struct {
	Step  DrainStep `json:"step"`
	Began time.Time `json:"began,omitzero"`
	Ended time.Time `json:"ended,omitzero"` // zero: it is under way
	Limit Seconds   `json:"limit_seconds"`
	// Note says what was not as hoped: a peer that did not acknowledge, sessions
	// that were cut, messages that are left. "": all well.
	Note string `json:"note,omitempty"`
}
