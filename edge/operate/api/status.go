package api

import "time"

// Phase is the node's position between start and end.
type Phase string

// Phases, in the order in which a node goes through them. A drained node can return to Running.
const (
	Starting Phase = "starting" // recovering its spool, not accepting yet
	Running  Phase = "running"
	Draining Phase = "draining" // leaving service: routes, sessions, then the spool
	Drained  Phase = "drained"  // out of service; what is left in the spool waits for core
	Stopping Phase = "stopping" // the process is about to end
)

// Status is the current state of a node. Times are absolute, sizes in bytes; the JSON omits zero
// times.
type Status struct {
	Name     string    `json:"name"`
	Region   string    `json:"region"`
	Hostname string    `json:"hostname"` // as in banner and EHLO
	Version  string    `json:"version"`  // of the node's program; "": the Server fills in its own
	PID      int       `json:"pid"`
	Phase    Phase     `json:"phase"`
	Since    time.Time `json:"since,omitzero"`   // when the phase began
	Started  time.Time `json:"started,omitzero"` // when the process started
	// Ready is the answer of /readyz. The Server fills it in; a Node leaves it zero.
	Ready    Readiness      `json:"ready"`
	Sessions SessionsStatus `json:"sessions"`
	Spool    SpoolStatus    `json:"spool"`
	Queue    QueueStatus    `json:"queue"`
	// Core holds the addresses in the order in which they are attempted.
	Core   []CoreStatus  `json:"core"`
	TLS    *TLSStatus    `json:"tls,omitempty"`    // nil: STARTTLS is not offered
	Config *ConfigStatus `json:"config,omitempty"` // nil: not known
	Clock  *ClockStatus  `json:"clock,omitempty"`  // nil: not known
	// Drain is set unless the node is in service.
	Drain *DrainStatus `json:"drain,omitempty"`
	// Degraded lists what the node runs without.
	Degraded []Degradation `json:"degraded,omitempty"`
	// Speaker and Network are the last answers of the programs beside this one; nil: not
	// configured.
	Speaker *Neighbour[SpeakerStatus] `json:"speaker,omitempty"`
	Network *Neighbour[NetworkStatus] `json:"network,omitempty"`
}

// Neighbour is the status that another program of the node reported.
type Neighbour[T any] struct {
	Asked   time.Time `json:"asked,omitzero"`
	Problem string    `json:"problem,omitempty"` // why it did not answer; Status is then its last answer
	Status  *T        `json:"status,omitempty"`  // nil: it has not answered yet
}

// Degradation is something that mail does not need and that is missing or broken: the program runs
// without it, and picks it up when it appears.
type Degradation struct {
	// Part is one of "control", "metrics", "certificate", "recipients" and "drain" of anymx-edge,
	// "control", "metrics", "password" and "state" of anymx-bgp, "control", "metrics" and "key" of
	// anymx-net.
	Part    string    `json:"part"`
	Name    string    `json:"name"` // an address, a domain, a router, a key of the config
	Problem string    `json:"problem"`
	Since   time.Time `json:"since,omitzero"`
}

// Readiness tells whether the node can accept and store mail now.
type Readiness struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why not; "" when OK
}

// SessionsStatus counts SMTP sessions of ingress.
type SessionsStatus struct {
	Open  int `json:"open"`
	Limit int `json:"limit"` // 0: no limit
}

// SpoolStatus is the content of the spool and its limits.
type SpoolStatus struct {
	Messages    int64  `json:"messages"`
	Bytes       int64  `json:"bytes"`
	MaxMessages int64  `json:"max_messages"` // 0: no limit
	HighWater   int64  `json:"high_water"`   // bytes; 0: no limit
	DiskFree    int64  `json:"disk_free"`    // bytes
	DiskReserve int64  `json:"disk_reserve"` // bytes that stay free; 0: none
	Accepting   bool   `json:"accepting"`
	Reason      string `json:"reason,omitempty"` // why it is not accepting

	// Problem is why the spool needs the operator's attention; "" if it does not.
	Problem      string `json:"problem,omitempty"`
	Damaged      int64  `json:"damaged,omitempty"`       // bodies that differed from what was stored, at the start
	Orphans      int64  `json:"orphans,omitempty"`       // stored body files without envelope
	OrphanBytes  int64  `json:"orphan_bytes,omitempty"`  // of them
	UnknownFiles int64  `json:"unknown_files,omitempty"` // files among the bodies that are not ours
}

// QueueStatus counts by State the legs of messages: the recipients of one message that go to one
// destination. Most messages have one leg.
type QueueStatus struct {
	Active  int64     `json:"active"`
	Waiting int64     `json:"waiting"`
	Held    int64     `json:"held"`
	Oldest  time.Time `json:"oldest,omitzero"` // arrival of the oldest message; zero: the queue is empty
	// Paused are the destinations that can't be reached, sorted by name; 100 at most.
	Paused []PauseStatus `json:"paused,omitempty"`
}

// Total returns the number of legs in the queue.
func (q QueueStatus) Total() int64 { return q.Active + q.Waiting + q.Held }

// PauseStatus is a destination that can't be reached.
type PauseStatus struct {
	Destination string    `json:"destination"` // "" is the default core
	Legs        int64     `json:"legs"`        // that wait for it
	Since       time.Time `json:"since,omitzero"`
	Until       time.Time `json:"until,omitzero"` // when it is asked again
	Cause       string    `json:"cause"`
}

// Health is the state of one core address.
type Health string

// Health of a core address.
const (
	Up      Health = "up"
	Down    Health = "down"    // failed; left alone until CoreStatus.RetryAt
	Probing Health = "probing" // failed; one connection checks whether it is back
	Unused  Health = "unused"  // not attempted yet, because an earlier one works
)

// CoreStatus is one address of core, or of a core group.
type CoreStatus struct {
	Group       string    `json:"group,omitempty"` // the core group that it belongs to; "": the default core
	Address     string    `json:"address"`
	Health      Health    `json:"health"`
	Connections int       `json:"connections"` // open now
	Limit       int       `json:"limit"`       // current maximum of open connections; 0: not known
	RetryAt     time.Time `json:"retry_at,omitzero"`
	LastError   string    `json:"last_error,omitempty"`
	Delivered   int64     `json:"delivered"` // messages since the process began
	// Extensions are those of SMTPUTF8 and 8BITMIME that it supports; nil: not known yet.
	Extensions []string `json:"extensions"`
	// Probe is the last full-size probe of core; nil: there was none.
	Probe *ProbeStatus `json:"probe,omitempty"`
}

// ProbeStatus is a probe with full-size packets, which detects an MTU that is too large before a
// message does.
type ProbeStatus struct {
	At      time.Time `json:"at,omitzero"`
	Size    int       `json:"size"` // bytes that were sent at once
	Took    Seconds   `json:"took_seconds"`
	Problem string    `json:"problem,omitempty"` // "": every byte was answered
}

// TLSStatus is the certificate that STARTTLS presents.
type TLSStatus struct {
	Names    []string  `json:"names"`
	NotAfter time.Time `json:"not_after"`
	// Problem is why the last reload kept the previous certificate; "" if it did not.
	Problem string `json:"problem,omitempty"`
}

// ConfigStatus is the config that is in force.
type ConfigStatus struct {
	File   string    `json:"file"`
	Loaded time.Time `json:"loaded,omitzero"`
	// Problem is why the last reload changed nothing; "" if it succeeded. With Partly the config is
	// in force, and Problem says which of its files are not.
	Problem string `json:"problem,omitempty"`
	Partly  bool   `json:"partly,omitempty"`
	// Restart names keys whose new values wait for a restart of the program.
	Restart []string `json:"restart,omitempty"`
}

// Reloaded is the answer to a successful reload.
type Reloaded struct {
	Changed []string `json:"changed"` // keys whose new values are in force
	Restart []string `json:"restart"` // keys whose new values wait for a restart
}

// InService reports whether the node accepts mail and, if it has a speaker, whether the speaker was
// seen to announce it to at least one router at or after since.
func (s Status) InService(since time.Time) bool {
	if s.Phase != Running || !s.Ready.OK {
		return false
	}
	if s.Speaker == nil {
		return true
	}
	said := s.Speaker.Status
	if said == nil || s.Speaker.Problem != "" || s.Speaker.Asked.Before(since) || said.Routes != Announced {
		return false
	}
	confirmed, _ := said.Confirmed()
	return confirmed > 0
}
