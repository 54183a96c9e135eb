package machine

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// updated returns a machine that has just booted the version that it was updated to.
func updated(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	c, stop := w.run()
	if _, _, err := w.update(c, api.UpdateRequest{}, w.bundle("0.6.0")); err != nil {
		t.Fatal(err)
	}
	stop()
	if v := w.boots(true); v != "0.6.0" {
		t.Fatalf("%s is booted", v)
	}
	w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+2-1.efi")
	return w
}

func TestConfirm(t *testing.T) {
	w := updated(t)
	// Starting the program alone neither resets the boot counter nor confirms the version.
	w.settled("anymx_0.5.0+3.efi", "anymx_0.6.0+2-1.efi")
	if last := w.record(); last.Outcome != outcomeBooted {
		t.Errorf("%+v", last)
	}
	w.sessions() // the router isn't back yet
	w.edge.lack(errors.New("[::]:25: connection refused"))
	ended := make(chan error, 1)
	go func() { ended <- Confirm(t.Context(), w.options) }()
	w.logs("connection refused")
	w.edge.lack(nil)
	w.logs("198.51.100.1 is Connect")
	w.sessions("2001:db8::1")
	w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+2-1.efi")
	w.sessions("198.51.100.1")
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+3.efi")
	if last := w.record(); last.Outcome != outcomeConfirmed || last.Ended.IsZero() {
		t.Errorf("%+v", last)
	}
	// Later boots don't test it again, even if a router is down.
	w.boots(true)
	w.sessions()
	w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+2-1.efi")
	before := w.edge.count()
	if err := Confirm(t.Context(), w.options); err != nil || w.edge.count() != before {
		t.Errorf("%v, %d self-tests more", err, w.edge.count()-before)
	}
	w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+3.efi")
	if w.orders() != "" {
		t.Errorf("systemd was ordered %q", w.orders())
	}
}

func (e *edge) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.selfTests
}

// logs waits until the log contains text.
func (w *world) logs(text string) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(w.log.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("the log does not hold %q:\n%s", text, w.log)
		}
	}
}

// A version that fails its self-test gets three boots; then the previous one comes back and stays.
func TestNotConfirmed(t *testing.T) {
	w := updated(t)
	w.edge.lack(errors.New("no listener answers"))
	w.fails("no listener answers", true)
	for range 2 {
		if v := w.boots(true); v != "0.6.0" {
			t.Fatal(v)
		}
		w.settled("anymx_0.5.0+3.efi", w.Names(t)[1])
		w.fails("no listener answers", true)
	}
	if v := w.boots(true); v != "0.5.0" {
		t.Fatal(v)
	}
	w.settled("anymx_0.5.0+3.efi", "anymx_0.6.0+0-3.efi")
	if last := w.record(); last.Outcome != outcomeBack || last.Ended.IsZero() {
		t.Errorf("%+v", last)
	}
	w.fails("there is no version to go back to, so the machine stays up", false)
}

// A mail program that keeps exiting ends the wait at once.
func TestHopelessVersion(t *testing.T) {
	w := updated(t)
	w.edge.lack(errors.New("no listener answers"))
	w.options.Deadline = time.Hour
	w.put("/restarts", "5\n")
	w.fails("anymx-edge was started 6 times and ended each time", true)
}

// A node whose config is missing or invalid after the update fails too. A node that had no config
// before passes.
func TestConfirmWithoutConfig(t *testing.T) {
	w := updated(t)
	w.options.Config = w.Root + "/none"
	w.fails("the node has no config", true)
	if err := os.MkdirAll(w.Root+"/run/anymx-config", 0o755); err != nil {
		t.Fatal(err)
	}
	w.put("/run/anymx-config/report.json", `{"taken":"ESP","problems":[{"file":"anymx.toml","line":7,"key":"core.adresses","reason":"unknown key"}]}`)
	w.put("/orders", "")
	w.fails("the node has no valid config: ESP: anymx.toml:7", true)

	w = newWorld(t)
	w.options.Config = w.Root + "/none"
	c, stop := w.run()
	if _, _, err := w.update(c, api.UpdateRequest{}, w.bundle("0.6.0")); err != nil {
		t.Fatal(err)
	}
	stop()
	w.boots(true)
	if err := Confirm(t.Context(), w.options); err != nil || w.orders() != "" {
		t.Errorf("%v, %q", err, w.orders())
	}
	w.settled("anymx_0.5.0+3.efi", "anymx_0.6.0+3.efi")
}

// A version that is confirmed after the deadline is confirmed by the serving program.
func TestConfirmedLate(t *testing.T) {
	w := newWorld(t)
	w.options.Deadline = time.Millisecond
	c, _ := w.run()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s, err := c.Status(t.Context())
		if err == nil && s.Confirmed {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, %v", s, err)
		}
	}
}

func TestRollback(t *testing.T) {
	w := newWorld(t)
	w.recordConfirmed("0.5.0")
	c, _ := w.run()
	power := api.PowerRequest{}
	if _, _, err := end(c.Rollback(t.Context(), power)); err == nil || !strings.Contains(err.Error(), "the other slot is empty") {
		t.Error(err)
	}
	if _, _, err := w.update(c, api.UpdateRequest{StageOnly: true}, w.bundle("0.6.0")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := end(c.Rollback(t.Context(), power)); err == nil || !strings.Contains(err.Error(), "0.6.0 in the other slot was never confirmed") {
		t.Error(err)
	}
	if w.orders() != "" || len(w.edge.Orders) != 0 {
		t.Error("what was refused was done")
	}

	w = updated(t)
	w.recordConfirmed("0.5.0")
	if err := Confirm(t.Context(), w.options); err != nil {
		t.Fatal(err)
	}
	c, stop := w.run()
	drains := len(w.edge.Orders)
	walked, last, err := end(c.Rollback(t.Context(), api.PowerRequest{Reason: "too slow", Now: true}))
	if err != nil || last != "reboot: version 0.5.0 is next" || len(walked) != 2 {
		t.Fatal(walked, last, err)
	}
	if n := len(w.edge.Orders); n != drains+1 || w.edge.Orders[n-1].Reason != "too slow" || !w.edge.Orders[n-1].Now {
		t.Errorf("%+v", w.edge.Orders)
	}
	w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+0-1.efi")
	stop()
	if v := w.boots(true); v != "0.5.0" {
		t.Fatal(v)
	}
	w.settled("anymx_0.5.0+3.efi", "anymx_0.6.0+0-1.efi")
	// Forward again: this version was confirmed too.
	c, _ = w.run()
	if _, last, err := end(c.Rollback(t.Context(), power)); err != nil || last != "reboot: version 0.6.0 is next" {
		t.Error(last, err)
	}
	w.entries("anymx_0.5.0+0-1.efi", "anymx_0.6.0+3.efi")
}

func TestPower(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run()
	if walked, last, err := end(c.Reboot(t.Context(), api.PowerRequest{})); err != nil || last != "reboot: version 0.5.0 is next" || len(walked) != 2 {
		t.Error(walked, last, err)
	}
	w.edge.again.Store(true)
	if _, _, err := end(c.Poweroff(t.Context(), api.PowerRequest{Reason: "moves"})); err != nil {
		t.Error(err)
	}
	if w.orders() != "reboot\npoweroff" || len(w.edge.Orders) != 2 || w.edge.Orders[1].Reason != "moves" || w.edge.Orders[1].Until != api.UntilRestart {
		t.Errorf("%q, %+v", w.orders(), w.edge.Orders)
	}
	w.put("/systemctl", "#!/bin/sh\necho no bus >&2\nexit 1\n")
	if _, _, err := end(c.Reboot(t.Context(), api.PowerRequest{})); err == nil || !strings.Contains(err.Error(), "no bus") {
		t.Error(err)
	}
}

// A drain that does not end is reported while it lasts, and stopped at its limit.
func TestDrainLimit(t *testing.T) {
	w := newWorld(t)
	w.options.DrainLimit = 100 * time.Millisecond
	w.edge.OnStatus = nil // the drain never ends
	c, _ := w.run()
	told := false
	for p, err := range c.Reboot(t.Context(), api.PowerRequest{}) {
		if err != nil {
			t.Fatal(err)
		}
		told = told || strings.Contains(p.Text, "draining")
	}
	if !told || w.orders() != "reboot" || !strings.Contains(w.log.String(), "not drained after 100ms") {
		t.Errorf("%v, %q\n%s", told, w.orders(), w.log)
	}
}

// A user who is neither root nor listed may only read.
func TestForbidden(t *testing.T) {
	w := newWorld(t)
	m, err := newMachine(t.Context(), w.options)
	if err != nil {
		t.Fatal(err)
	}
	m.users = map[int]bool{}
	e, err := m.endpoint()
	if err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(w.options.Socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Serve(ctx, l, nil) }()
	c := control.NewMachineClient(w.options.Socket)
	_, _, err1 := end(c.Reboot(ctx, api.PowerRequest{}))
	_, _, err2 := w.update(c, api.UpdateRequest{}, w.bundle("0.6.0"))
	_, err3 := c.Provision(ctx, api.ProvisionRequest{})
	for _, err := range []error{err1, err2, err3} {
		var refused *api.Error
		if !errors.As(err, &refused) || refused.Code != api.Forbidden {
			t.Error(err)
		}
	}
	if s, err := c.Status(ctx); err != nil || s.Image != "0.5.0" {
		t.Errorf("%+v, %v", s, err)
	}
	c.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := m.allow(&http.Request{}); err == nil {
		t.Error("a request of nobody was allowed")
	}
}

func TestMetrics(t *testing.T) {
	w := updated(t)
	m, err := newMachine(t.Context(), w.options)
	if err != nil {
		t.Fatal(err)
	}
	m.results.staged.Add(1)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{m})
	problems, err := testutil.GatherAndLint(registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	err = testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP anymx_machine_info The running version of the image, and the one that the loader boots next.
# TYPE anymx_machine_info gauge
anymx_machine_info{next="0.6.0",version="0.6.0"} 1
# HELP anymx_machine_confirmed 1 if the running version is confirmed: it has carried mail on this machine.
# TYPE anymx_machine_confirmed gauge
anymx_machine_confirmed 0
# HELP anymx_machine_boot_attempts_left Boot attempts that a slot's version has left before the loader skips it.
# TYPE anymx_machine_boot_attempts_left gauge
anymx_machine_boot_attempts_left{slot="other"} 3
anymx_machine_boot_attempts_left{slot="running"} 2
# HELP anymx_machine_last_update_info The last update that was written into a slot, and its outcome.
# TYPE anymx_machine_last_update_info gauge
anymx_machine_last_update_info{outcome="staged",version="0.6.0"} 1
# HELP anymx_machine_updates_total Requested updates by result.
# TYPE anymx_machine_updates_total counter
anymx_machine_updates_total{result="failed"} 0
anymx_machine_updates_total{result="refused"} 0
anymx_machine_updates_total{result="staged"} 1
`), "anymx_machine_info", "anymx_machine_confirmed", "anymx_machine_boot_attempts_left", "anymx_machine_last_update_info", "anymx_machine_updates_total")
	if err != nil {
		t.Error(err)
	}
}
