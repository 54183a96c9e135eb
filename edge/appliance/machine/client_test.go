package machine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// stalling returns part of a bundle, and the rest when the test continues it.
type stalling struct {
	first, rest io.Reader
	reached, on chan struct{}
	waited      bool
}

func stall(b []byte, at int) *stalling {
	return &stalling{first: bytes.NewReader(b[:at]), rest: bytes.NewReader(b[at:]), reached: make(chan struct{}), on: make(chan struct{})}
}

func (s *stalling) Read(p []byte) (int, error) {
	if n, err := s.first.Read(p); err == nil {
		return n, nil
	}
	if !s.waited {
		s.waited = true
		close(s.reached)
		<-s.on
	}
	return s.rest.Read(p)
}

// A client that disconnects before its bundle has arrived ends the update. Until then, another
// update is refused.
func TestClientGoesEarly(t *testing.T) {
	w := newWorld(t)
	c, stop := w.run()
	b := w.bundle("0.6.0")
	s := stall(b, len(b)/2)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, _, err := end(c.Update(ctx, api.UpdateRequest{}, s, int64(len(b))))
		ended <- err
	}()
	<-s.reached
	var busy *api.Error
	for _, err := range c.Reboot(t.Context(), api.PowerRequest{}) {
		if !errors.As(err, &busy) || busy.Code != api.Superseded || !strings.Contains(busy.Text, "an update is already running") {
			t.Errorf("%v", err)
		}
	}
	cancel()
	close(s.on)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	w.idle(c)
	w.entries("anymx_0.5.0+3.efi")
	if _, err := os.Stat(w.options.State + "/staged"); !os.IsNotExist(err) {
		t.Errorf("what was staged is left: %v", err)
	}
	stop()
	if w.orders() != "" {
		t.Error("it went on")
	}
}

// idle waits until no operation is running.
func (w *world) idle(c *control.MachineClient) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s, err := c.Status(w.t.Context())
		if err == nil && s.Operation == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%+v, %v", s.Operation, err)
		}
	}
}

// A client that disconnects later does not end it.
func TestClientGoesLate(t *testing.T) {
	w := newWorld(t)
	c, _ := w.run()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := w.bundle("0.6.0")
	for p, err := range c.Update(ctx, api.UpdateRequest{}, bytes.NewReader(b), -1) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			break
		}
		if p.Step == api.MachineWrite {
			cancel()
		}
	}
	w.idle(c)
	w.entries("anymx_0.5.0+3.efi", "anymx_0.6.0+3-0.efi")
	if w.orders() != "reboot" {
		t.Errorf("systemd was ordered %q\n%s", w.orders(), w.log)
	}
}
