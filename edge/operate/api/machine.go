package api

import "time"

// MachineStatus is the appliance at one moment: GET /v1/status of the socket of
// anymx-machine.
type MachineStatus struct {
	Version string    `json:"version"` // of the program
	PID     int       `json:"pid"`
	Started time.Time `json:"started,omitzero"`

	// Image is the version that runs, RootHash what its root file system is checked
	// against. "": this machine runs no image, and Problem says why.
	Image    string `json:"image"`
	RootHash string `json:"root_hash,omitempty"`
	// Confirmed says that this version has carried mail on this machine; UnconfirmedReason is what
	// its proof lacks.
	Confirmed         bool   `json:"confirmed"`
	UnconfirmedReason string `json:"unconfirmed_reason,omitempty"`
	// Slots holds the one that runs first.
	Slots []MachineSlot `json:"slots"`
	// Next is the version that the loader boots next.
	Next string `json:"next,omitempty"`
	// Operation is what is under way; nil: nothing.
	Operation *MachineOperation `json:"operation,omitempty"`
	// Last is the last update that was written into a slot; nil: there was none.
	Last *MachineUpdate `json:"last_update,omitempty"`
	// Config is where the config comes from; "": none is in force, and ConfigProblem
	// says why, if that is known.
	Config        string `json:"config,omitempty"`
	ConfigProblem string `json:"config_problem,omitempty"`
	Problem       string `json:"problem,omitempty"` // that something here could not be found out
}

// MachineSlot is one slot.
type MachineSlot struct {
	Version   string `json:"version,omitempty"` // "": none that is whole
	State     string `json:"state"`             // "running", "whole", "incomplete", "empty"
	Confirmed bool   `json:"confirmed"`         // as in MachineStatus
	Entry     string `json:"entry,omitempty"`   // name of its boot entry; "": it has none
	// BootAttemptsLeft are the boots that it still has; nil: it has no entry, or one that is
	// not counted. With none left it is booted last.
	BootAttemptsLeft *int `json:"boot_attempts_left,omitempty"`
	BootAttemptsDone int  `json:"boot_attempts_done,omitempty"`
}

// MachineOperation is an order under way.
type MachineOperation struct {
	Kind     string          `json:"kind"` // "update", "rollback", "reboot", "poweroff"
	Began    time.Time       `json:"began,omitzero"`
	Progress MachineProgress `json:"progress"`
}

// MachineUpdate is an update that was written into a slot.
type MachineUpdate struct {
	Version string    `json:"version"`
	From    string    `json:"from"` // the version that ran
	Staged  time.Time `json:"staged,omitzero"`
	// Outcome is "writing", "staged" until the version is booted, then "booted", and "confirmed"
	// or, if the machine returned to From, "rolled_back".
	Outcome string    `json:"outcome"`
	Ended   time.Time `json:"ended,omitzero"` // when it was proven, or found to be back
}

// MachineStep is a step of an order.
type MachineStep string

// The steps. An update takes those until MachineProven, a reboot the last three.
const (
	MachineReceive MachineStep = "receive" // the bundle, whose signature comes first
	MachineWrite   MachineStep = "write"   // the other slot
	MachineCheck   MachineStep = "check"   // what was written is read back
	MachineEntries MachineStep = "entries" // of the loader: which version is next
	MachineDrain   MachineStep = "drain"   // the node leaves service
	MachineReboot  MachineStep = "reboot"  // the machine goes down
)

// MachineProgress is how far an order is: a line of its answer.
type MachineProgress struct {
	Step MachineStep `json:"step"`
	// Done of Total octets; Total is 0 where octets are not what counts.
	Done  int64  `json:"done,omitempty"`
	Total int64  `json:"total,omitempty"`
	Text  string `json:"text,omitempty"` // for people
	// Ended is set in the last line: the order was carried out.
	Ended bool `json:"ended,omitempty"`
}

// UpdateRequest orders an update: the parameters of POST /v1/update. Its body is
// the bundle, unless there is an URL.
type UpdateRequest struct {
	URL        string // http or https; "": the bundle is sent
	DryRun     bool   // only say whether it could be installed
	StageOnly  bool   // do not drain and reboot: the next boot takes it
	AllowOlder bool   // take a version that is older than the one that runs
}

// PowerRequest orders a rollback, a reboot or a poweroff.
type PowerRequest struct {
	Reason string `json:"reason,omitempty"` // for people; in status and log
	// Now drains without waiting for traffic to move away, as in a DrainRequest.
	Now bool `json:"now,omitempty"`
}

// ProvisionRequest has the sources of the config read again: POST /v1/provision.
type ProvisionRequest struct {
	// Forget removes the config that was kept on /var before that. The one in force
	// stays until there is another, or the next boot.
	Forget bool `json:"forget,omitempty"`
}

// Provisioned is what came of reading the sources of the config again: POST
// /v1/provision.
type Provisioned struct {
	Source  string `json:"source"`   // of the config in force; "": none is
	InForce bool   `json:"in_force"` // a config is
	OK      bool   `json:"ok"`       // one was found, and is good
	Text    string `json:"text"`     // all of it, in lines for people
}
