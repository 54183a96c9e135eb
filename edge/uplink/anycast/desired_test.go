package anycast

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/tests/kit"
)

func TestOrderFile(t *testing.T) {
	f, err := openDesiredFile(filepath.Join(t.TempDir(), "state", "bgp"))
	if err != nil {
		t.Fatal(err)
	}
	load := func() desired {
		t.Helper()
		s, err := f.load()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := load(); s.Routes != api.Announced || !s.Keep || !s.at.IsZero() {
		t.Errorf("without a file: %+v", s)
	}
	for _, routes := range []api.Routes{api.Graceful, api.Withdrawn, api.Withdrawn} {
		want := desired{DesiredState: lasting(routes), at: epoch}
		if err := f.save(want); err != nil {
			t.Fatal(err)
		}
		if s := load(); s != want {
			t.Errorf("%+v, want %+v", s, want)
		}
	}
	// The leftover of a write that a crash cut off changes nothing.
	if err := os.WriteFile(f.path()+".new", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := load(); s.Routes != api.Withdrawn {
		t.Errorf("%+v", s)
	}
	for range 2 {
		if err := f.save(desired{DesiredState: lasting(api.Announced)}); err != nil {
			t.Fatal(err)
		}
		if s := load(); s.Routes != api.Announced {
			t.Errorf("%+v", s)
		}
	}
	info, err := os.Stat(f.dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestBadOrderFile(t *testing.T) {
	for name, text := range map[string]string{
		"empty":         "",
		"cut":           `{"version":1,"order":{"routes":"withd`,
		"no JSON":       "withdrawn",
		"other version": `{"version":2,"order":{"routes":"announced"}}`,
		"no routes":     `{"version":1}`,
		"other routes":  `{"version":1,"order":{"routes":"down"}}`,
		"a directory":   "/",
		"large":         `{"version":1,"order":{"routes":"announced"}}` + strings.Repeat(" ", maxRecord),
	} {
		t.Run(name, func(t *testing.T) {
			f := desiredFile{t.TempDir()}
			var err error
			if text == "/" {
				err = os.Mkdir(f.path(), 0o700)
			} else {
				err = os.WriteFile(f.path(), []byte(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err := f.load()
			if err == nil || s.Routes != api.Withdrawn || !s.Keep || !strings.Contains(s.Reason, f.path()) {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

func FuzzOrderFile(f *testing.F) {
	f.Add([]byte(`{"version":1,"order":{"routes":"withdrawn","reason":"x","keep":true},"at":"2031-05-01T12:00:00Z"}`))
	f.Add([]byte(`{"version":1,"order":{"routes":"announced"}}`))
	f.Add([]byte(`{`))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		file := desiredFile{dir}
		if err := os.WriteFile(file.path(), text, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := file.load()
		if checkRoutes(s.Routes) != nil || !s.Keep || err != nil && s.Routes != api.Withdrawn {
			t.Errorf("%+v, %v", s, err)
		}
	})
}

// newTestAnnouncer returns an announcer with a config, a speaker without routers, and no running
// goroutine.
func newTestAnnouncer(t *testing.T) *Announcer {
	t.Helper()
	a, err := newAnnouncer(testEnv(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.speaker.Close(t.Context()); err != nil {
			t.Error(err)
		}
		a.end()
		a.watching.Wait()
	})
	return a
}

// announces returns what the speaker is set to announce.
func announces(a *Announcer) api.Routes {
	routes := a.speaker.Status().Routes
	switch {
	case len(routes) == 0:
		return api.Withdrawn
	case len(routes[0].Communities) > 0:
		return api.Graceful
	}
	return api.Announced
}

// healthy makes the announcer's node healthy.
func healthy(a *Announcer) {
	for range 3 {
		a.recordRound(verdict{outcome: good, began: time.Now()})
	}
}

func TestOrders(t *testing.T) {
	a := newTestAnnouncer(t)
	want := func(when string, r api.Routes) {
		t.Helper()
		if got := announces(a); got != r || a.Status().Routes != r {
			t.Errorf("%s: %s (status %s), want %s", when, got, a.Status().Routes, r)
		}
	}
	want("at the beginning", api.Withdrawn)
	healthy(a)
	want("healthy", api.Announced)
	for _, o := range []api.DesiredState{lasting(api.Graceful), lasting(api.Withdrawn), lasting(api.Graceful), lasting(api.Announced)} {
		s, err := a.SetDesired(t.Context(), o)
		if err != nil || s.Routes != o.Routes || s.Desired != o || s.DesiredAt.IsZero() {
			t.Errorf("%+v, %v", s, err)
		}
		want("ordered", o.Routes)
		if again, err := a.store.load(); err != nil || again.Routes != o.Routes {
			t.Errorf("on disk is %+v, %v", again, err)
		}
	}
	if s, err := a.SetDesired(t.Context(), passing(api.Withdrawn)); err != nil || s.Routes != api.Withdrawn {
		t.Errorf("%+v, %v", s, err)
	}
	if again, err := a.store.load(); err != nil || again.Routes != api.Announced {
		t.Errorf("a passing state is on disk: %+v, %v", again, err)
	}
	a.recordRound(verdict{outcome: bad, reason: "refused"}) // one is enough now
	healthy(a)
	want("down and up", api.Announced)
	for _, o := range []api.DesiredState{{Routes: "up"}, {}, {Routes: api.Withdrawn, Reason: strings.Repeat("x", maxReason+1)}} {
		if _, err := a.SetDesired(t.Context(), o); err == nil {
			t.Errorf("taken: %.50v", o)
		}
	}
	want("refused", api.Announced)
}

// A resumed node is announced only after its health is confirmed again.
func TestResumedNodeConfirmsItsHealth(t *testing.T) {
	a := newTestAnnouncer(t)
	healthy(a)
	for _, o := range []api.DesiredState{lasting(api.Withdrawn), lasting(api.Announced)} {
		if s, err := a.SetDesired(t.Context(), o); err != nil || s.Routes != api.Withdrawn {
			t.Errorf("%s: %+v, %v", o.Routes, s, err)
		}
	}
	if s := a.Status(); s.Health.Up || announces(a) != api.Withdrawn {
		t.Errorf("%+v", s)
	}
	healthy(a)
	if announces(a) != api.Announced {
		t.Errorf("%+v", a.Status())
	}
}

// A failing disk does not keep traffic on a node, and a command that could not be stored is not
// announced.
func TestOrderOnAFailedDisk(t *testing.T) {
	a := newTestAnnouncer(t)
	healthy(a)
	if err := os.RemoveAll(a.store.dir); err != nil {
		t.Fatal(err)
	}
	_, err := a.SetDesired(t.Context(), lasting(api.Withdrawn))
	if err == nil || !strings.Contains(err.Error(), "only until anymx-bgp restarts") || announces(a) != api.Withdrawn {
		t.Errorf("%s: %v", announces(a), err)
	}
	_, err = a.SetDesired(t.Context(), lasting(api.Announced))
	if err == nil || !strings.Contains(err.Error(), "nothing was changed") || announces(a) != api.Withdrawn {
		t.Errorf("%s: %v", announces(a), err)
	}
	a.recordRound(verdict{outcome: bad})
	a.recordRound(verdict{outcome: bad})
	healthy(a)
	if announces(a) != api.Withdrawn {
		t.Error("a state that was not written has ended")
	}
}

// A hanging disk does not delay a withdrawal; of several desired states that wait for it the last
// one counts.
func TestOrderOnADiskThatHangs(t *testing.T) {
	a := newTestAnnouncer(t)
	healthy(a)
	if _, err := a.SetDesired(t.Context(), lasting(api.Withdrawn)); err != nil {
		t.Fatal(err)
	}
	a.writing <- struct{}{} // as if a write were under way
	resumed := make(chan error, 1)
	go func() {
		_, err := a.SetDesired(t.Context(), lasting(api.Announced))
		resumed <- err
	}()
	kit.Eventually(t, "the second command has arrived", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.commands == 2 })
	drained := make(chan error, 1)
	go func() {
		_, err := a.SetDesired(t.Context(), lasting(api.Graceful))
		drained <- err
	}()
	kit.Eventually(t, "the third command has arrived", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.commands == 3 })
	if announces(a) != api.Withdrawn {
		t.Error("announced before it was on disk")
	}
	<-a.writing
	if err := <-resumed; err == nil || !strings.Contains(err.Error(), "overtaken by a later command") {
		t.Errorf("the first: %v", err)
	}
	if err := <-drained; err != nil || announces(a) != api.Graceful {
		t.Errorf("the second: %v, %s", err, announces(a))
	}

	a.writing <- struct{}{}
	ctx, cancel := contextWithDeadline(t)
	defer cancel()
	if _, err := a.SetDesired(ctx, lasting(api.Withdrawn)); err == nil || announces(a) != api.Withdrawn {
		t.Errorf("%v, %s", err, announces(a))
	}
	<-a.writing
}

// A command that arrives late does not undo a later one, unless the clock was set back since.
func TestOrderOfYesterday(t *testing.T) {
	a := newTestAnnouncer(t)
	healthy(a)
	old := lasting(api.Announced)
	old.Given = time.Now().Add(-time.Hour)
	if _, err := a.SetDesired(t.Context(), lasting(api.Withdrawn)); err != nil {
		t.Fatal(err)
	}
	_, err := a.SetDesired(t.Context(), old)
	if !errors.Is(err, errOvertaken) || a.Status().Desired.Routes != api.Withdrawn {
		t.Errorf("%v, %+v", err, a.Status().Desired)
	}
	a.mu.Lock()
	a.states.lasting.at = time.Now().Add(time.Hour)
	a.mu.Unlock()
	if s, err := a.SetDesired(t.Context(), lasting(api.Announced)); err != nil || s.Desired.Routes != api.Announced {
		t.Errorf("with a clock that was set back: %v, %+v", err, s.Desired)
	}
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.SetDesired(given, lasting(api.Withdrawn)); err == nil || a.Status().Desired.Routes != api.Announced {
		t.Errorf("given up: %v, %+v", err, a.Status().Desired)
	}
}
