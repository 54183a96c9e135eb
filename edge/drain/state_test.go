package drain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
)

// text is a table's line of actions: "enter withdraw 4s, desire withdrawn kept".
func text(actions []action) string {
	var list []string
	for _, a := range actions {
		switch a.kind {
		case enterStep:
			list = append(list, fmt.Sprintf("enter %s %s", a.step, a.limit))
		case leaveStep:
			line := fmt.Sprintf("leave %s after %s", a.step, a.limit)
			if a.note != "" {
				line += " (" + a.note + ")"
			}
			list = append(list, line)
		case sendDesired:
			line := "desire " + string(a.desired.Routes)
			if a.desired.Keep {
				line += " kept"
			}
			list = append(list, line)
		case closeSessions:
			list = append(list, "close sessions")
		case flushSpool:
			list = append(list, "flush")
		case finishDrain:
			list = append(list, "drained")
		case finishStop:
			list = append(list, "stopped")
		}
	}
	return strings.Join(list, ", ")
}

// epoch is when each table begins.
var epoch = time.Unix(1_000_000_000, 0)

// at is a moment of a table: so many seconds after its beginning.
func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// says are the facts of a speaker that was last asked at the given second.
func says(asked int, routes api.Routes, confirmed bool) facts {
	return facts{taken: true, speaker: api.Neighbour[api.SpeakerStatus]{Asked: at(asked), Status: &api.SpeakerStatus{
		Desired: api.DesiredState{Routes: routes, Keep: true}, Routes: routes, Peers: []api.SpeakerPeer{peer("192.0.2.1", "Established", confirmed)},
	}}}
}

// silent are the facts of a speaker that does not answer.
func silent(asked int) facts {
	return facts{speaker: api.Neighbour[api.SpeakerStatus]{Asked: at(asked), Problem: "gone"}}
}

// result are the facts when sessions or flush have ended.
func result(note string) facts { return facts{result: &note} }

// moment is one call of advance, or several until it has to wait.
type moment struct {
	at    int
	facts facts
	want  string
}

// play advances s through the moments.
func play(t *testing.T, s state, limits config.Drain, moments []moment) state {
	t.Helper()
	for i := range moments {
		m := &moments[i]
		m.facts.limits = limits
		var got []action
		for {
			next, actions := s.advance(&m.facts, at(m.at))
			if s = next; len(actions) == 0 {
				break
			}
			got = append(got, actions...)
			for _, a := range actions {
				switch a.kind {
				case leaveStep:
					m.facts.result = nil
				case sendDesired:
					m.facts.taken = false
				}
			}
		}
		if text(got) != m.want {
			t.Errorf("at %d s: %s\nwant %s", m.at, text(got), m.want)
		}
	}
	return s
}

func tableLimits() config.Drain {
	second := config.Duration(time.Second)
	return config.Drain{Graceful: 10 * second, Confirm: 4 * second, Converge: 6 * second, Sessions: 60 * second, Flush: 300 * second}
}

// draining is a node at the beginning of a drain that is on disk.
func draining(routes, hasty bool) state {
	s := inService(at(-100))
	s.saved = savedState{Reason: "new disks", Began: epoch}
	s, _ = s.drain(routes, true, hasty, epoch)
	return s
}

func stopping(grace time.Duration) state {
	s, _ := inService(at(-100)).stop(true, grace, false, epoch)
	return s
}

func TestAdvance(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		state   state
		moments []moment
	}{
		{"all steps", draining(true, false), []moment{
			{0, says(0, api.Announced, true), ""}, // an answer from before the run
			{1, says(1, api.Announced, true), "enter graceful 10s, desire graceful kept"},
			{2, says(1, api.Announced, true), ""},
			{3, says(3, api.Graceful, true), ""},
			{10, says(10, api.Graceful, true), ""},
			{11, says(11, api.Graceful, true), "leave graceful after 10s, enter withdraw 4s, desire withdrawn kept"},
			{12, says(12, api.Withdrawn, false), ""},
			{13, says(13, api.Withdrawn, true), "leave withdraw after 2s, enter converge 6s"},
			{18, says(18, api.Withdrawn, true), ""},
			{19, says(19, api.Withdrawn, true), "leave converge after 6s, enter sessions 1m0s, close sessions"},
			{90, says(90, api.Withdrawn, true), ""}, // ends when its work does
			{91, result("1 session was cut"), "leave sessions after 1m12s (1 session was cut), enter flush 5m0s, flush"},
			{92, result(""), "leave flush after 1s, drained"},
			{93, facts{}, ""},
		}},
		{"no speaker", draining(false, false), []moment{
			{0, facts{}, "enter sessions 1m0s, close sessions"},
			{1, result(""), "leave sessions after 1s, enter flush 5m0s, flush"},
			{2, result(""), "leave flush after 1s, drained"},
		}},
		{"hasty", draining(true, true), []moment{
			{1, says(1, api.Announced, true), "enter withdraw 4s, desire withdrawn kept"},
			{2, says(2, api.Withdrawn, true), "leave withdraw after 1s, enter converge 6s"},
		}},
		{"routes withdrawn before", draining(true, false), []moment{
			{1, says(1, api.Withdrawn, true), "enter withdraw 4s, desire withdrawn kept"},
			{2, says(2, api.Withdrawn, true), "leave withdraw after 1s, enter sessions 1m0s, close sessions"},
		}},
		{"a speaker that is dead", draining(true, false), []moment{
			{0, silent(-1), ""},
			{1, silent(-1), "enter graceful 10s, desire graceful kept"},
			{2, silent(2), "leave graceful after 1s (gone), enter withdraw 4s, desire withdrawn kept"},
			{5, silent(5), ""},
			{6, silent(6), "leave withdraw after 4s (gone), enter converge 6s"},
		}},
		{"a router that does not confirm", draining(true, true), []moment{
			{1, says(1, api.Announced, true), "enter withdraw 4s, desire withdrawn kept"},
			{5, says(5, api.Withdrawn, false), "leave withdraw after 4s (not acknowledged by 192.0.2.1), enter converge 6s"},
		}},
		{"stopping", stopping(20 * time.Second), []moment{
			{1, says(1, api.Announced, true), "enter graceful 5s, desire graceful"},
			{2, says(2, api.Graceful, true), ""},
			{6, says(6, api.Graceful, true), "leave graceful after 5s, enter withdraw 4s, desire withdrawn"},
			{7, says(7, api.Withdrawn, true), "leave withdraw after 1s, enter converge 5s"},
			{12, says(12, api.Withdrawn, true), "leave converge after 5s, enter sessions 8s, close sessions"},
			{14, result(""), "leave sessions after 2s, enter flush 6s, flush"},
			{15, result(""), "leave flush after 1s, stopped"},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			play(t, test.state, tableLimits(), test.moments)
		})
	}
}

// Requests change a run that is in one of its steps.
func TestRequestsDuringRun(t *testing.T) {
	t.Parallel()
	graceful := []moment{
		{1, says(1, api.Announced, true), "enter graceful 10s, desire graceful kept"},
		{2, says(2, api.Graceful, true), ""},
	}
	t.Run("hasty", func(t *testing.T) {
		t.Parallel()
		s := play(t, draining(true, false), tableLimits(), graceful)
		s, actions := s.drain(true, true, true, at(3))
		if text(actions) != "" {
			t.Error(text(actions))
		}
		play(t, s, tableLimits(), []moment{{3, says(3, api.Graceful, true), "leave graceful after 2s, enter withdraw 4s, desire withdrawn kept"}})
	})
	t.Run("made to last", func(t *testing.T) {
		t.Parallel()
		s := inService(at(-100))
		s, toDisk := s.request(api.DrainRequest{Until: api.UntilRestart}, epoch)
		if toDisk {
			t.Error("a drain until the restart goes to disk")
		}
		s, _ = s.drain(true, false, false, epoch)
		s = play(t, s, tableLimits(), []moment{{1, says(1, api.Announced, true), "enter graceful 10s, desire graceful"}})
		s, toDisk = s.request(api.DrainRequest{Reason: "longer"}, at(2))
		if !toDisk || !s.saved.Began.Equal(epoch) || s.saved.Reason != "longer" {
			t.Errorf("to disk %v, saved %+v", toDisk, s.saved)
		}
		s, actions := s.drain(true, true, false, at(2))
		if got := text(actions); got != "desire graceful kept" || s.status.Until != "" || s.status.Reason != "longer" {
			t.Errorf("%s, status %+v", got, s.status)
		}
		if s, toDisk = s.request(api.DrainRequest{Until: api.UntilRestart}, at(3)); !toDisk || s.until != "" || s.saved.Reason != "longer" {
			t.Errorf("a drain that lasts: to disk %v, until %q, saved %+v", toDisk, s.until, s.saved)
		}
	})
	t.Run("resumed", func(t *testing.T) {
		t.Parallel()
		before := play(t, draining(true, false), tableLimits(), graceful)
		s, actions := before.resume(true, at(4))
		if got := text(actions); got != "leave graceful after 3s (given up), desire announced kept" {
			t.Error(got)
		}
		if s.phase != api.Running || s.status != nil || s.run != nil || s.accepting() != nil || !s.announcing {
			t.Errorf("%+v", s)
		}
		if last := before.status.Steps[0]; !last.Ended.IsZero() {
			t.Errorf("a status that was published has changed: %+v", last)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		t.Parallel()
		s := play(t, draining(true, false), tableLimits(), graceful)
		s, actions := s.stop(true, 20*time.Second, false, at(4))
		if got := text(actions); got != "leave graceful after 3s (given up)" || s.status.Reason != "new disks" || !s.status.Stopping {
			t.Errorf("%s, %+v", got, s.status)
		}
		play(t, s, tableLimits(), []moment{
			{5, says(5, api.Graceful, true), "enter withdraw 4s, desire withdrawn kept"},
			{6, says(6, api.Withdrawn, true), "leave withdraw after 1s, enter sessions 18s, close sessions"},
		})
	})
	t.Run("stopped after the withdrawal", func(t *testing.T) {
		t.Parallel()
		s := play(t, draining(true, true), tableLimits(), []moment{
			{1, says(1, api.Announced, true), "enter withdraw 4s, desire withdrawn kept"},
			{2, says(2, api.Withdrawn, true), "leave withdraw after 1s, enter converge 6s"},
		})
		s, _ = s.stop(true, 20*time.Second, false, at(4))
		play(t, s, tableLimits(), []moment{{4, says(4, api.Withdrawn, true), "enter sessions 20s, close sessions"}})
	})
}

// What a restart finds decides where it goes on.
func TestRestored(t *testing.T) {
	t.Parallel()
	saved := savedState{Reason: "new disks", Began: at(-50)}
	s, actions := restored(saved, true, epoch)
	if s.phase != api.Draining || text(actions) != "" || s.accepting() == nil {
		t.Errorf("%+v, %s", s, text(actions))
	}
	play(t, s, tableLimits(), []moment{
		{0, silent(-1), "enter withdraw 4s, desire withdrawn kept"},
		{4, silent(4), "leave withdraw after 4s (gone), enter sessions 1m0s, close sessions"},
	})
	saved.Drained = true
	for _, routes := range []bool{true, false} {
		s, actions := restored(saved, routes, epoch)
		want := map[bool]string{true: "desire withdrawn kept"}[routes]
		if s.phase != api.Drained || text(actions) != want {
			t.Errorf("with routes %v: %+v, %s", routes, s, text(actions))
		}
		play(t, s, tableLimits(), []moment{{0, silent(0), ""}})
	}
}

// The goroutine sleeps for as long as only time, or nothing but a fact, takes the run further.
func TestWakeAt(t *testing.T) {
	t.Parallel()
	s := draining(true, false)
	wakes := []int{}
	next := func(m moment) {
		s = play(t, s, tableLimits(), []moment{m})
		wake := -1
		if at := s.wakeAt(); !at.IsZero() {
			wake = int(at.Sub(epoch) / time.Second)
		}
		if s.watching() != (wake >= 0) {
			t.Errorf("at %d s: watching %v", m.at, s.watching())
		}
		wakes = append(wakes, wake)
	}
	next(moment{0, silent(-1), ""})
	next(moment{1, silent(-1), "enter graceful 10s, desire graceful kept"})
	next(moment{2, silent(2), "leave graceful after 1s (gone), enter withdraw 4s, desire withdrawn kept"})
	next(moment{6, silent(6), "leave withdraw after 4s (gone), enter converge 6s"})
	next(moment{12, silent(12), "leave converge after 6s, enter sessions 1m0s, close sessions"})
	next(moment{13, result(""), "leave sessions after 1s, enter flush 5m0s, flush"})
	next(moment{14, result(""), "leave flush after 1s, drained"})
	if want := []int{1, 11, 6, 12, -1, -1, -1}; !slices.Equal(wakes, want) {
		t.Errorf("wakes at %v; want %v", wakes, want)
	}
}
