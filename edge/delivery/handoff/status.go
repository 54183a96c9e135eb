package handoff

import (
	"time"

	"anymx/edge/mail"
)

// AddressStatus is one address of core at one moment.
type AddressStatus struct {
	Address     string    `json:"address"`
	Health      Health    `json:"health"`
	Connections int       `json:"connections"`          // open now
	Busy        int       `json:"busy"`                 // messages under way, new connections included
	Limit       int       `json:"limit"`                // of Busy, as the throttle has it now
	RetryAt     time.Time `json:"retry_at,omitzero"`    // while it is down
	LastError   string    `json:"last_error,omitempty"` // "" since it works
	Delivered   int64     `json:"delivered"`            // messages since the process began
	// Probe is what the last call of Probe found.
	Probe ProbeResult `json:"probe"`
	// Extensions is what the address takes of what messages need; only if Learned.
	Extensions mail.Extensions `json:"extensions"`
	Learned    bool            `json:"learned"`

	idle int
}

// Status tells of each address, in the order in which they are tried.
func (h *Handoff) Status() []AddressStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]AddressStatus, 0, len(h.addresses))
	for _, a := range h.addresses {
		s := AddressStatus{
			Address: a.name, Health: a.health.state, Connections: a.open, Busy: a.busy,
			Limit: a.limit.now(), Delivered: a.delivered, Probe: a.probe, idle: len(a.idle),
			Extensions: a.extensions, Learned: a.learned,
		}
		if a.health.state == Down {
			s.RetryAt = a.health.retryAt
		}
		if a.cause != nil {
			s.LastError = a.cause.Error()
		}
		list = append(list, s)
	}
	return list
}
