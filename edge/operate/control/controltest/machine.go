package controltest

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// Machine is an anymx-machine in memory. Its fields are set before it is used.
type Machine struct {
	State api.MachineStatus
	// Steps are the lines that each operation sends, and Err its error after them; nil: it
	// succeeds.
	Steps []api.MachineProgress
	Err   error
	// Provisioned is the result of reading the config's sources again.
	Provisioned api.Provisioned

	mu     sync.Mutex
	orders []MachineOrdered
}

// MachineOrdered is a command that reached a Machine.
type MachineOrdered struct {
	Kind      string // "update", "rollback", "reboot", "poweroff", "provision"
	Update    api.UpdateRequest
	Power     api.PowerRequest
	Provision api.ProvisionRequest
	Bytes     int64 // of the bundle
}

// Orders returns the commands that reached the machine.
func (m *Machine) Orders() []MachineOrdered {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.orders
}

func (m *Machine) takeOrder(r *http.Request, kind string, send func(any) error) error {
	o := MachineOrdered{Kind: kind}
	var err error
	if kind == "update" {
		if o.Update, err = control.ReadUpdateRequest(r.URL.Query()); err != nil {
			return err
		}
		if o.Bytes, err = io.Copy(io.Discard, r.Body); err != nil {
			return err
		}
	} else if err := control.ReadJSON(r, &o.Power); err != nil {
		return err
	}
	m.mu.Lock()
	m.orders = append(m.orders, o)
	m.mu.Unlock()
	for _, p := range m.Steps {
		if err := send(p); err != nil {
			return err
		}
	}
	return m.Err
}

// Start serves m on a real control socket until the test ends, and returns the socket's path.
func (m *Machine) Start(t testing.TB) string {
	t.Helper()
	e, err := control.NewEndpoint(control.EndpointOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.Handle("GET /v1/status", func(*http.Request) (any, error) { return m.State, nil })
	for _, kind := range []string{"update", "rollback", "reboot", "poweroff"} {
		e.HandleStream("POST /v1/"+kind, func(r *http.Request, send func(any) error) error { return m.takeOrder(r, kind, send) })
	}
	e.Handle("POST /v1/provision", func(r *http.Request) (any, error) {
		o := MachineOrdered{Kind: "provision"}
		if err := control.ReadJSON(r, &o.Provision); err != nil {
			return nil, err
		}
		m.mu.Lock()
		m.orders = append(m.orders, o)
		m.mu.Unlock()
		return m.Provisioned, m.Err
	})
	return StartEndpoint(t, "machine.sock", e)
}

// MachineStatus returns a machine whose last update was rolled back.
func MachineStatus() api.MachineStatus {
	three, none := 3, 0
	return api.MachineStatus{
		Version: "v0.5.0 (0123456789ab, go1.26.0)", PID: 412, Started: ago(72 * time.Hour),
		Image: "0.5.0", RootHash: "5050", Confirmed: true, Next: "0.5.0",
		Slots: []api.MachineSlot{
			{Version: "0.5.0", State: "running", Confirmed: true, Entry: "anymx_0.5.0+3.efi", BootAttemptsLeft: &three},
			{Version: "0.6.0", State: "whole", Entry: "anymx_0.6.0+0-3.efi", BootAttemptsLeft: &none, BootAttemptsDone: 3},
		},
		Last:   &api.MachineUpdate{Version: "0.6.0", From: "0.5.0", Staged: ago(80 * time.Hour), Outcome: "rolled_back", Ended: ago(79 * time.Hour)},
		Config: "file system ANYMX on /dev/sdb1",
	}
}

// MachineSteps returns the progress of an update.
func MachineSteps() []api.MachineProgress {
	return []api.MachineProgress{
		{Step: api.MachineReceive, Text: "version 0.6.0, built 2026-03-12, signed by SHA256:abc (releases)"},
		{Step: api.MachineReceive, Done: 100 << 20, Total: 217 << 20},
		{Step: api.MachineWrite, Text: "the other slot is made empty"},
		{Step: api.MachineCheck, Done: 217 << 20, Total: 217 << 20},
		{Step: api.MachineDrain, Text: "draining, converge 3s of at most 10s"},
		{Step: api.MachineReboot, Text: "reboot: version 0.6.0 is next", Ended: true},
	}
}
