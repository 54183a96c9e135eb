package api

import "time"

// MachineStatus is the current state of the appliance: GET /v1/status of the socket of
// anymx-machine.
type MachineStatus struct {
	Version string    `json:"version"` // of the program
	PID     int       `json:"pid"`
	Started time.Time `json:"started,omitzero"`

	// Image is the version that runs, RootHash the hash that its root file system is verified
	// against. "": this machine runs no image, and Problem says why.
	Image    string `json:"image"`
	RootHash string `json:"root_hash,omitempty"`
	// Confirmed says that this version has carried mail on this machine; UnconfirmedReason is what
	// its self-test lacks.
	Confirmed         bool   `json:"confirmed"`
	UnconfirmedReason string `json:"unconfirmed_reason,omitempty"`
	// Slots holds the running one first.
	Slots []MachineSlot `json:"slots"`
	// Next is the version that the loader boots next.
	Next string `json:"next,omitempty"`
	// Operation is under way; nil: none is.
	Operation *MachineOperation `json:"operation,omitempty"`
	// Last is the last update that was written into a slot; nil: there was none.
	Last *MachineUpdate `json:"last_update,omitempty"`
	// Config is where the config comes from; "": none is in force, and ConfigProblem says why, if
	// that is known.
	Config        string `json:"config,omitempty"`
	ConfigProblem string `json:"config_problem,omitempty"`
	Problem       string `json:"problem,omitempty"` // what could not be determined
}

// MachineSlot is one slot.
type MachineSlot struct {
	Version   string `json:"version,omitempty"` // "": no complete version
	State     string `json:"state"`             // "running", "whole", "incomplete", "empty"
	Confirmed bool   `json:"confirmed"`         // as in MachineStatus
	Entry     string `json:"entry,omitempty"`   // name of its boot entry; "": none
	// BootAttemptsLeft is its boot counter; nil: it has no loader entry, or an uncounted one. A
	// slot with none left is booted last.
	BootAttemptsLeft *int `json:"boot_attempts_left,omitempty"`
	BootAttemptsDone int  `json:"boot_attempts_done,omitempty"`
}

// MachineOperation is an operation under way.
type MachineOperation struct {
	Kind     string          `json:"kind"` // "update", "rollback", "reboot", "poweroff"
	Began    time.Time       `json:"began,omitzero"`
	Progress MachineProgress `json:"progress"`
}

// MachineUpdate is an update that was written into a slot.
type MachineUpdate struct {
	Version string    `json:"version"`
	From    string    `json:"from"` // the version that ran before
	Staged  time.Time `json:"staged,omitzero"`
	// Outcome is "writing", "staged" until the version is booted, then "booted", and "confirmed"
	// or, if the machine returned to From, "rolled_back".
	Outcome string    `json:"outcome"`
	Ended   time.Time `json:"ended,omitzero"` // when it was confirmed, or found to be rolled back
}

// MachineStep is a step of an operation.
type MachineStep string

// The steps. An update goes through all of them, a reboot only through the last ones.
const (
	MachineReceive MachineStep = "receive" // the bundle, which begins with its signature
	MachineWrite   MachineStep = "write"   // the other slot
	MachineCheck   MachineStep = "check"   // reads back what was written
	MachineEntries MachineStep = "entries" // the loader's entries: which version is next
	MachineDrain   MachineStep = "drain"   // the node leaves service
	MachineReboot  MachineStep = "reboot"  // the machine goes down
)

// MachineProgress is the progress of an operation: a line of its answer.
type MachineProgress struct {
	Step MachineStep `json:"step"`
	// Done of Total bytes; Total is 0 where progress is not measured in bytes.
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"`
	Text  string `json:"text,omitempty"` // for people
	// Ended is set in the last line: the operation succeeded.
	Ended bool `json:"ended,omitempty"`
}

// UpdateRequest starts an update: the parameters of POST /v1/update. Its body is the bundle, unless
// there is a URL.
type UpdateRequest struct {
	URL        string // http or https; "": the bundle is the body
	DryRun     bool   // only check whether it could be installed
	StageOnly  bool   // do not drain and reboot: the next boot uses it
	AllowOlder bool   // accept a version older than the one that runs
}

// PowerRequest starts a rollback, a reboot or a poweroff.
type PowerRequest struct {
	Reason string `json:"reason,omitempty"` // for people; in status and log
	// Now drains without waiting for traffic to move away, as in a DrainRequest.
	Now bool `json:"now,omitempty"`
}

// ProvisionRequest asks to read the sources of the config again: POST /v1/provision.
type ProvisionRequest struct {
	// Forget first removes the config stored on /var. The one in force stays until there is
	// another, or until the next boot.
	Forget bool `json:"forget,omitempty"`
}

// Provisioned is the result of reading the sources of the config again: POST /v1/provision.
type Provisioned struct {
	Source  string `json:"source"`   // of the config in force; "": none is
	InForce bool   `json:"in_force"` // a config is
	OK      bool   `json:"ok"`       // one was found, and is valid
	Text    string `json:"text"`     // the whole result, in lines for people
}
