package machine

import (
	"os"
	"strings"
	"time"

	"anymx/edge/appliance/provision"
	"anymx/edge/appliance/slot"
	"anymx/edge/operate/api"
)

// status returns the machine's current state. What can't be read is omitted, and reported as
// missing.
func (m *Machine) status() api.MachineStatus {
	s := api.MachineStatus{
		Version: api.ThisVersion().String(), PID: os.Getpid(), Started: m.started, Slots: []api.MachineSlot{},
	}
	var problems []string
	note := func(err error) {
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	confirmed, err := m.records.confirmed()
	note(err)
	last, err := m.records.last()
	note(err)
	if last != nil {
		s.Last = &api.MachineUpdate{Version: last.Version, From: last.From, Staged: last.Staged, Outcome: outcomeText(last.Outcome), Ended: last.Ended}
	}
	t, err := m.table()
	note(err)
	if err == nil {
		s.Image, s.RootHash, s.Next = t.Version, t.RootHash, t.Next()
		s.Confirmed = confirmed.has(t.Version, t.RootHash)
		for i := range t.Slots {
			s.Slots = append(s.Slots, slotStatus(&t.Slots[i], confirmed))
		}
	}
	m.mu.Lock()
	if !s.Confirmed {
		s.UnconfirmedReason = m.notYet
	}
	o := m.operation
	m.mu.Unlock()
	if o != nil {
		s.Operation = &api.MachineOperation{Kind: o.kind, Began: o.began, Progress: o.progress()}
	}
	if report, err := provision.Last(m.System.Root); err == nil {
		s.Config = report.Source
		if !report.OK() {
			s.ConfigProblem = configProblem(&report)
		}
	}
	s.Problem = strings.Join(problems, "; ")
	return s
}

// outcomeText returns the outcome of an update as clients see it. The record on disk has names of its
// own, because an older version in the other slot reads it too.
func outcomeText(recorded string) string {
	switch recorded {
	case outcomeConfirmed:
		return "confirmed"
	case outcomeBack:
		return "rolled_back"
	}
	return recorded
}

func slotStatus(in *slot.Slot, confirmed confirmedList) api.MachineSlot {
	out := api.MachineSlot{Version: in.Version, State: in.State(), Confirmed: confirmed.has(in.Version, rootHashOf(in))}
	if e := in.Entry; e != nil {
		out.Entry, out.BootAttemptsDone = e.File, e.Done
		if e.Left != slot.Uncounted {
			out.BootAttemptsLeft = &e.Left
		}
	}
	return out
}

// configProblem returns why there is no valid config, in one line.
func configProblem(r *provision.Report) string {
	if len(r.Problems) > 0 {
		return r.Taken + ": " + r.Problems[0].Error()
	}
	if r.Taken == "" {
		return "no config was found"
	}
	return ""
}

// sinceBoot returns the time since the machine booted.
func (m *Machine) sinceBoot() time.Duration {
	seconds, err := m.System.Uptime()
	if err != nil {
		m.Log.Warn("uptime unknown", "err", err)
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}
