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

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
)

func TestMachineClient(t *testing.T) {
	m := &controltest.Machine{State: controltest.MachineStatus(), Steps: controltest.MachineSteps()}
	c := control.NewMachineClient(m.Start(t))
	defer c.Close()
	s, err := c.Status(t.Context())
	if err != nil || s.Image != "0.5.0" || len(s.Slots) != 2 || *s.Slots[1].BootAttemptsLeft != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	n := 0
	want := api.UpdateRequest{DryRun: true, StageOnly: true, AllowOlder: true}
	for p, err := range c.Update(t.Context(), want, io.LimitReader(zeros{}, 5<<20), -1) {
		if err != nil || p != m.Steps[n] {
			t.Errorf("%+v, %v", p, err)
		}
		n++
	}
	for range c.Update(t.Context(), api.UpdateRequest{URL: "https://example.net/a?b=c&d"}, nil, 0) {
	}
	for range c.Rollback(t.Context(), api.PowerRequest{Reason: "slow", Now: true}) {
	}
	got := m.Orders()
	if n != len(m.Steps) || len(got) != 3 || got[0].Update != want || got[0].Bytes != 5<<20 ||
		got[1].Update.URL != "https://example.net/a?b=c&d" || got[2].Kind != "rollback" || got[2].Power.Reason != "slow" {
		t.Errorf("%d, %+v", n, got)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// An error looks the same before the first line and after it.
func TestMachineErrors(t *testing.T) {
	refusal := &api.Error{Code: api.Forbidden, Text: "no"}
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
			for _, err := range c.Reboot(t.Context(), api.PowerRequest{}) {
				if err == nil {
					steps++
				}
				last = err
			}
			if last == nil || !strings.Contains(last.Error(), test.want) || steps != len(test.m.Steps) {
				t.Errorf("%d steps, %v", steps, last)
			}
			var e *api.Error
			if test.m.Err == error(refusal) && (!errors.As(last, &e) || e.Code != api.Forbidden) {
				t.Errorf("%v", last)
			}
		})
	}
	c := control.NewMachineClient(t.TempDir() + "/none")
	for _, err := range c.Reboot(t.Context(), api.PowerRequest{}) {
		var nobody *control.Unreachable
		if !errors.As(err, &nobody) || nobody.Program != "anymx-machine" {
			t.Error(err)
		}
	}
}

// A client that is still sending its request receives the refusal, without waiting for the end.
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
		return &api.Error{Code: api.BadRequest, Text: "not a tar archive"}
	})
	socket, _, _ := serveEndpoint(t, e)
	c := control.NewMachineClient(socket)
	defer c.Close()
	for _, size := range []int64{600, 1 << 20, 64 << 20} {
		for _, err := range c.Update(t.Context(), api.UpdateRequest{}, io.LimitReader(zeros{}, size), size) {
			var refused *api.Error
			if !errors.As(err, &refused) || refused.Text != "not a tar archive" {
				t.Errorf("%d bytes: %v", size, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range c.Update(ctx, api.UpdateRequest{}, bytes.NewReader(nil), 0) {
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
