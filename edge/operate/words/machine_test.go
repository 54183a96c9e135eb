package words_test

import (
	"strings"
	"testing"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
	"anymx/edge/operate/words"
)

func TestMachineText(t *testing.T) {
	one := 1
	for name, test := range map[string]struct {
		change func(*api.MachineStatus)
		want   string
	}{
		"back": {func(*api.MachineStatus) {}, `Image     version 0.5.0, confirmed
Slots     running    0.5.0, confirmed, 3 boot attempts left
          other      0.6.0, not confirmed, no boot attempts left: booted last
Update  ! 0.6.0, from 0.5.0, ordered 3d ago, did NOT hold: the machine came back, 3d ago
Config    from the file system ANYMX on /dev/sdb1
`},
		"new": {func(s *api.MachineStatus) {
			s.Confirmed, s.UnconfirmedReason, s.Next = false, "BGP: no peer has a session yet", "0.7.0"
			s.Slots[0].Confirmed, s.Slots[0].BootAttemptsLeft = false, &one
			s.Slots[1] = api.MachineSlot{State: "empty"}
			s.Operation = &api.MachineOperation{Kind: "update", Began: controltest.Now.Add(-70e9), Progress: controltest.MachineSteps()[1]}
			s.Last, s.Config, s.ConfigProblem, s.Problem = nil, "", "no config was found", "bad\x1b[2J"
		}, `Image   ! version 0.5.0, not confirmed yet
        ! BGP: no peer has a session yet
          the next boot takes version 0.7.0
Slots     running    0.5.0, not confirmed, 1 boot attempt left
          empty
Order     update, for 1m 10s: 100 MiB of 217 MiB
Config  ! no config was found
Trouble ! bad\x1b[2J
`},
		"rolled back": {func(s *api.MachineStatus) {
			s.Slots, s.Config, s.Last.Outcome = nil, "", "confirmed"
		}, `Image     version 0.5.0, confirmed
Update    0.6.0, from 0.5.0, ordered 3d ago, was confirmed, and does not run: the machine was rolled back, or its slot broke, 3d ago
`},
		"not an appliance": {func(s *api.MachineStatus) { *s = api.MachineStatus{Problem: "this machine runs no image"} },
			"Image   ! none: this machine is not an appliance, or its slots can't be read\nTrouble ! this machine runs no image\n"},
	} {
		s := controltest.MachineStatus()
		test.change(&s)
		var b strings.Builder
		if err := words.WriteMachine(&b, s, controltest.Now); err != nil || b.String() != test.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, b.String(), test.want)
		}
	}
}

func TestMachineReport(t *testing.T) {
	steps := controltest.MachineSteps()
	r := words.MachineReport(steps[:2])
	if r.Line != "receive  100 MiB of 217 MiB" || len(r.Lines) != 1 || r.Lines[0] != "receive  [#############-----------------]  46%  100 MiB of 217 MiB" || r.Step != "receive" {
		t.Errorf("%+v", r)
	}
	r = words.MachineReport(steps[:5])
	if len(r.Lines) != 4 || r.Step != "drain" || r.Lines[1] != "write    the other slot is made empty" {
		t.Errorf("%+v", r)
	}
	if r := words.MachineReport(nil); len(r.Lines) != 0 {
		t.Errorf("%+v", r)
	}
}
