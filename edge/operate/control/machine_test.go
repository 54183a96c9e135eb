package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
)

func TestMachineClient(t *testing.T) {
	m := &controltest.Machine{State: controltest.MachineStatus(), Steps: controltest.MachineSteps()}
	c := control.NewMachineClient(m.Start(t))
	defer c.Close()
	s, err := c.Status(t.Context())
	if err != nil || s.Image != "0.5.0" || len(s.Slots) != 2 || *s.Slots[1].TriesLeft != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	n := 0
	want := control.UpdateRequest{DryRun: true, StageOnly: true, AllowOlder: true}
	for p, err := range c.Update(t.Context(), want, io.LimitReader(zeros{}, 5<<20), -1) {
		if err != nil || p != m.Steps[n] {
			t.Errorf("%+v, %v", p, err)
		}
		n++
	}
	for range c.Update(t.Context(), control.UpdateRequest{URL: "https://example.net/a?b=c&d"}, nil, 0) {
	}
	for range c.Rollback(t.Context(), control.PowerRequest{Reason: "slow", Now: true}) {
	}
	got := m.Orders()
	if n != len(m.Steps) || len(got) != 3 || got[0].Update != want || got[0].Octets != 5<<20 ||
		got[1].Update.URL != "https://example.net/a?b=c&d" || got[2].Kind != "rollback" || got[2].Power.Reason != "slow" {
		t.Errorf("%d, %+v", n, got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// An error is told the same before the first line and after it.
func TestMachineErrors(t *testing.T) {
	refusal := &control.Error{Code: control.Forbidden, Text: "no"}
	for name, test := range map[string]struct {
		m    *controltest.Machine
		want string
	}{
		"at once":             {&controltest.Machine{Err: refusal}, "no"},
		"later":               {&controltest.Machine{Err: refusal, Steps: controltest.MachineSteps()[:3]}, "no"},
		"an error of no kind": {&controltest.Machine{Err: errors.New("disk full")}, "disk full"},
		"it says nothing":     {&controltest.Machine{Steps: controltest.MachineSteps()[:2]}, "it has ended before the order was carried out"},
	} {
		t.Run(name, func(t *testing.T) {
			c := control.NewMachineClient(test.m.Start(t))
			defer c.Close()
			steps := 0
			var last error
			for _, err := range c.Reboot(t.Context(), control.PowerRequest{}) {
				if err == nil {
					steps++
				}
				last = err
			}
			if last == nil || !strings.Contains(last.Error(), test.want) || steps != len(test.m.Steps) {
				t.Errorf("%d steps, %v", steps, last)
			}
			var e *control.Error
			if test.m.Err == error(refusal) && (!errors.As(last, &e) || e.Code != control.Forbidden) {
				t.Errorf("%v", last)
			}
		})
	}
	c := control.NewMachineClient(t.TempDir() + "/none")
	for _, err := range c.Reboot(t.Context(), control.PowerRequest{}) {
		var nobody *control.Unreachable
		if !errors.As(err, &nobody) || nobody.Program != "anymx-machine" {
			t.Error(err)
		}
	}
}

// What is refused is read by a sender that has not sent all of it, and that does
// not wait for its end.
func TestRefusalWhileSending(t *testing.T) {
	e, err := control.NewEndpoint(control.EndpointOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e.HandleStream("POST /v1/update", func(r *http.Request, send func(any) error) error {
		b := make([]byte, 512)
		if _, err := io.ReadFull(r.Body, b); err != nil {
			return err
		}
		return &control.Error{Code: control.BadRequest, Text: "it is no tar"}
	})
	socket, _, _ := serveEndpoint(t, e)
	c := control.NewMachineClient(socket)
	defer c.Close()
	for _, size := range []int64{600, 1 << 20, 64 << 20} {
		for _, err := range c.Update(t.Context(), control.UpdateRequest{}, io.LimitReader(zeros{}, size), size) {
			var refused *control.Error
			if !errors.As(err, &refused) || refused.Text != "it is no tar" {
				t.Errorf("%d octets: %v", size, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.Update(ctx, control.UpdateRequest{}, bytes.NewReader(nil), 0) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func TestReadUpdateRequest(t *testing.T) {
	for query, want := range map[string]string{"?x=1": `no parameter "x"`, "?dry_run=perhaps": "neither true nor false", "?dry_run=true&url=http://a": ""} {
		r, err := http.NewRequest(http.MethodPost, "http://x/"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := control.ReadUpdateRequest(r.URL.Query())
		if fmt.Sprint(err) != "<nil>" && want == "" || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %+v, %v", query, got, err)
		}
	}
}

func TestMachineText(t *testing.T) {
	one := 1
	for name, test := range map[string]struct {
		change func(*control.MachineStatus)
		want   string
	}{
		"back": {func(*control.MachineStatus) {}, `Image     version 0.5.0, proven
Slots     running    0.5.0, proven, 3 tries left
          other      0.6.0, not proven, no try left: booted last
Update  ! 0.6.0, from 0.5.0, ordered 3d ago, did NOT hold: the machine came back, 3d ago
Config    from the file system ANYMX on /dev/sdb1
`},
		"new": {func(s *control.MachineStatus) {
			s.Proven, s.NotYet, s.Next = false, "BGP: no peer has a session yet", "0.7.0"
			s.Slots[0].Proven, s.Slots[0].TriesLeft = false, &one
			s.Slots[1] = control.MachineSlot{State: "empty"}
			s.Order = &control.MachineOrder{Kind: "update", Began: controltest.Now.Add(-70e9), Progress: controltest.MachineSteps()[1]}
			s.Last, s.Config, s.ConfigProblem, s.Problem = nil, "", "no config was found", "bad\x1b[2J"
		}, `Image   ! version 0.5.0, not proven yet
        ! BGP: no peer has a session yet
          the next boot takes version 0.7.0
Slots     running    0.5.0, not proven, 1 try left
          empty
Order     update, for 1m 10s: 100 MiB of 217 MiB
Config  ! no config was found
Trouble ! bad\x1b[2J
`},
		"rolled back": {func(s *control.MachineStatus) {
			s.Slots, s.Config, s.Last.Outcome = nil, "", "proven"
		}, `Image     version 0.5.0, proven
Update    0.6.0, from 0.5.0, ordered 3d ago, was proven, and does not run: the machine was rolled back, or its slot broke, 3d ago
`},
		"no appliance": {func(s *control.MachineStatus) { *s = control.MachineStatus{Problem: "this machine runs no image"} },
			"Image   ! none: this machine is no appliance, or its slots can't be read\nTrouble ! this machine runs no image\n"},
	} {
		s := controltest.MachineStatus()
		test.change(&s)
		var b strings.Builder
		if err := s.WriteText(&b, controltest.Now); err != nil || b.String() != test.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, b.String(), test.want)
		}
	}
}

func TestMachineReport(t *testing.T) {
	steps := controltest.MachineSteps()
	r := control.MachineReport(steps[:2])
	if r.Line != "receive  100 MiB of 217 MiB" || len(r.Lines) != 1 || r.Lines[0] != "receive  [#############-----------------]  46%  100 MiB of 217 MiB" || r.Step != "receive" {
		t.Errorf("%+v", r)
	}
	r = control.MachineReport(steps[:5])
	if len(r.Lines) != 4 || r.Step != "drain" || r.Lines[1] != "write    the other slot is made empty" {
		t.Errorf("%+v", r)
	}
	if r := control.MachineReport(nil); len(r.Lines) != 0 {
		t.Errorf("%+v", r)
	}
}
