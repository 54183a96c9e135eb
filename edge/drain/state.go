package drain

import (
	"errors"
	"fmt"
	"time"

	"anymx/edge/config"
	"anymx/edge/operate/api"
)

// This file is pure: it decides how requests, facts and time change the drain state. Its functions
// return the new state and the actions to carry out, in order.

// state is the drain state. A published value is never changed.
type state struct {
	phase   api.Phase
	since   time.Time
	serving bool             // clients find the node in service
	status  *api.DrainStatus // nil in service
	saved   savedState       // what is on disk, or should be, if the node is not in service
	until   api.Until        // "": saved should be on disk
	run     *run             // nil in service
	// announcing is set while the speaker is asked to announce and has not confirmed; until then the
	// file on disk stays.
	announcing bool
}

// run is a drain run: one pass through the steps. Each step is planned when it begins, so that a
// change of the config applies to the remaining steps.
type run struct {
	stepInput
	keep    bool              // what the speaker is asked for has to survive restarts
	desired *api.DesiredState // last asked of the speaker; nil: nothing yet
	began   time.Time
	end     time.Time // of all steps, while stopping
	// asking is set until the run knows whether the routes are withdrawn already.
	asking bool
	next   int           // index in steps of the step to begin next
	step   api.DrainStep // under way; "": none
	// stepBegan and stepEnds are of the step under way.
	stepBegan, stepEnds time.Time
	told                bool // the speaker announces with GRACEFUL_SHUTDOWN
	over                bool
}

// facts holds the status of the node's other parts at one moment.
type facts struct {
	limits config.Drain
	// speaker is the speaker's last answer, and taken whether it has what was last asked of it.
	speaker api.Neighbour[api.SpeakerStatus]
	taken   bool
	// result is the note of the step sessions or flush when it has ended, and nil before.
	result *string
}

// Kinds of actions.
type kind int

const (
	enterStep     kind = iota // report that step begins
	leaveStep                 // report that step has ended
	sendDesired               // ask the speaker for desired
	closeSessions             // end the sessions within limit
	flushSpool                // hand the spool over within limit
	finishDrain               // save and report that the node is drained
	finishStop                // the process may end
)

// action is something to do after a change of state.
type action struct {
	kind    kind
	step    api.DrainStep
	limit   time.Duration
	note    string
	desired api.DesiredState
}

// askFirst is how long a run waits to hear whether the routes are withdrawn already.
const askFirst = time.Second

// noteGivenUp is the note of a step that was left before its end.
const noteGivenUp = "given up"

// inService returns the state of a node in service.
func inService(now time.Time) state {
	return state{phase: api.Running, since: now, serving: true}
}

// restored returns the state of a node that starts with a saved state.
func restored(saved savedState, routes bool, now time.Time) (state, []action) {
	s := state{since: now, saved: saved, status: &api.DrainStatus{Reason: saved.Reason, Began: saved.Began}}
	s.phase = api.Draining
	s.run = &run{stepInput: stepInput{routes: routes}, keep: true, began: now}
	if !saved.Drained {
		return s, nil
	}
	s.phase = api.Drained
	s.run.over = true
	if !routes {
		return s, nil
	}
	return s.desire(api.Withdrawn)
}

// request updates the saved state for the request r, and reports whether it must be stored on disk.
// A lasting drain stays lasting, whatever a later request says.
func (s state) request(r api.DrainRequest, now time.Time) (next state, toDisk bool) {
	saved, until := savedState{Began: now}, r.Until
	if s.run != nil {
		saved = s.saved
		if s.until == "" {
			until = ""
		}
	}
	if s.run == nil || r.Reason != "" {
		saved.Reason = r.Reason
	}
	s.saved, s.until = saved, until
	return s, until == ""
}

// drain begins a run for what was requested, or changes the one under way. routes says that there
// is a speaker, kept that the request is on disk, and hasty that there is no time to be graceful.
func (s state) drain(routes, kept, hasty bool, now time.Time) (state, []action) {
	if s.run == nil {
		s.announcing = false
		s.phase, s.since = api.Draining, now
		s.status = &api.DrainStatus{Reason: s.saved.Reason, Began: s.saved.Began, Until: s.until}
		s.run = &run{stepInput: stepInput{routes: routes, attracts: s.serving, hasty: hasty}, keep: kept, began: now}
		s.run.asking = routes && s.serving
		return s, nil
	}
	status, r := *s.status, *s.run
	status.Reason, status.Until = s.saved.Reason, s.until
	r.hasty = r.hasty || hasty
	promote := kept && !r.keep
	r.keep = r.keep || kept
	s.status, s.run = &status, &r
	if promote && r.desired != nil {
		return s.desire(r.desired.Routes)
	}
	return s, nil
}

// giveUp ends the run where it is.
func (s state) giveUp(now time.Time) (state, []action) {
	if s.run == nil || s.run.step == "" {
		s.run = nil
		return s, nil
	}
	s, actions := s.leave(noteGivenUp, now)
	s.run = nil
	return s, actions
}

// resume takes the node back into service. The speaker is asked to announce also if the node was
// in service: it may hold a command that did not come from the node.
func (s state) resume(routes bool, now time.Time) (state, []action) {
	s, actions := s.giveUp(now)
	if s.status != nil {
		s = inService(now)
	}
	if routes {
		s.announcing = true
		actions = append(actions, announceAgain(now))
	}
	return s, actions
}

// announceAgain asks the speaker to announce the routes once the node has shown its health.
func announceAgain(resumed time.Time) action {
	return action{kind: sendDesired, desired: api.DesiredState{Routes: api.Announced, Reason: "resumed", Keep: true, Given: resumed}}
}

// stop begins the run that ends the process within grace. The saved state stays as it is: a node
// that was in service starts in service again.
func (s state) stop(routes bool, grace time.Duration, hasty bool, now time.Time) (state, []action) {
	next := &run{
		stepInput: stepInput{routes: routes, attracts: s.serving, hasty: hasty, stopping: true, grace: grace},
		began:     now, end: now.Add(grace),
	}
	var actions []action
	status := &api.DrainStatus{Reason: "the program stops", Began: now}
	if before := s.run; before != nil {
		drained := s.phase == api.Drained
		s, actions = s.giveUp(now)
		copied := *s.status
		status = &copied
		next.keep, next.hasty = before.keep, true
		next.routes = routes && !drained && !ended(status, api.StepWithdraw)
	}
	next.asking = next.routes && next.attracts
	status.Stopping = true
	s.phase, s.since, s.status, s.run, s.announcing = api.Stopping, now, status, next, false
	return s, actions
}

// ended reports whether a step has ended by itself.
func ended(s *api.DrainStatus, step api.DrainStep) bool {
	for _, taken := range s.Steps {
		if taken.Step == step {
			return taken.Note != noteGivenUp
		}
	}
	return false
}

// advance takes the run as far as the facts allow now. It returns no actions if it has to wait
// for a fact, or until wakeAt. Its actions change the facts, so call it again after they were
// carried out.
func (s state) advance(f *facts, now time.Time) (state, []action) {
	if s.run == nil || s.run.over {
		return s, nil
	}
	r := *s.run
	s.run = &r
	switch {
	case r.asking:
		fresh := f.speaker.Asked.After(r.began)
		if !fresh && now.Before(r.began.Add(askFirst)) {
			return s, nil
		}
		r.asking = false
		r.attracts = !fresh || f.speaker.Problem != "" || !withdrawn(f.speaker.Status)
	case r.step != "":
		note, done := r.finished(f, now)
		if !done {
			return s, nil
		}
		return s.leave(note, now)
	}
	return s.enterNext(f, now)
}

// enterNext begins the next step that the run has to take, or ends the run.
func (s state) enterNext(f *facts, now time.Time) (state, []action) {
	r := s.run
	for r.next < len(steps) {
		step := steps[r.next]
		r.next++
		r.limits, r.left = f.limits, r.end.Sub(now)
		limit, taken := r.plan(step)
		if !taken {
			continue
		}
		return s.enter(step, limit, now)
	}
	r.over = true
	if r.stopping {
		return s, []action{{kind: finishStop}}
	}
	s.saved.Drained = true
	return s, []action{{kind: finishDrain}}
}

// enter begins a step.
func (s state) enter(step api.DrainStep, limit time.Duration, now time.Time) (state, []action) {
	r := s.run
	r.step, r.stepBegan, r.stepEnds = step, now, now.Add(limit)
	status := *s.status
	status.Steps = append(status.Steps[:len(status.Steps):len(status.Steps)], api.StepStatus{Step: step, Began: now, Limit: api.Seconds(limit)})
	s.status = &status
	actions := []action{{kind: enterStep, step: step, limit: limit}}
	var more []action
	switch step {
	case api.StepGraceful:
		s, more = s.desire(api.Graceful)
	case api.StepWithdraw:
		s, more = s.desire(api.Withdrawn)
	case api.StepSessions:
		s.serving = false
		more = []action{{kind: closeSessions, limit: limit}}
	case api.StepFlush:
		more = []action{{kind: flushSpool, limit: limit}}
	}
	return s, append(actions, more...)
}

// leave ends the step under way.
func (s state) leave(note string, now time.Time) (state, []action) {
	r, status := *s.run, *s.status
	step := r.step
	r.step = ""
	status.Steps = append([]api.StepStatus{}, status.Steps...)
	last := &status.Steps[len(status.Steps)-1]
	last.Ended, last.Note = now, note
	s.run, s.status = &r, &status
	return s, []action{{kind: leaveStep, step: step, note: note, limit: now.Sub(last.Began)}}
}

// desire asks the speaker for routes, for as long as the run lasts.
func (s state) desire(routes api.Routes) (state, []action) {
	r := *s.run
	r.desired = &api.DesiredState{Routes: routes, Reason: shortReason(s.status.Reason), Keep: r.keep}
	s.run = &r
	return s, []action{{kind: sendDesired, desired: *r.desired}}
}

// finished reports whether the step under way has ended, and with which note.
func (r *run) finished(f *facts, now time.Time) (note string, done bool) {
	late := !now.Before(r.stepEnds)
	switch r.step {
	case api.StepGraceful:
		return r.gracefulFinished(f, late)
	case api.StepWithdraw:
		note = routesNote(&f.speaker, r.desired)
		return note, late || f.taken && note == ""
	case api.StepConverge:
		return "", late
	default: // sessions, flush
		if f.result == nil {
			return "", false
		}
		return *f.result, true
	}
}

// gracefulFinished is finished for the step graceful, which asks routers to prefer other
// paths. A speaker that does not confirm this doesn't delay the drain: if it is dead its routes are
// gone, and if not, the next step withdraws them.
func (r *run) gracefulFinished(f *facts, late bool) (note string, done bool) {
	if r.hasty {
		return "", true
	}
	if !r.told {
		heard := f.speaker.Asked.After(r.stepBegan) && (f.speaker.Problem != "" || f.speaker.Status.Obeys(r.desired))
		if !heard && !late {
			return "", false
		}
		if note = routesNote(&f.speaker, r.desired); note != "" {
			return note, true
		}
		r.told = true
	}
	return "", late
}

// watching reports whether the run waits for the speaker.
func (s state) watching() bool {
	r := s.run
	if r == nil || r.over {
		return false
	}
	return r.asking || r.step == api.StepGraceful || r.step == api.StepWithdraw || r.step == api.StepConverge
}

// wakeAt returns the time at which the run continues without a new fact; zero: never.
func (s state) wakeAt() time.Time {
	switch r := s.run; {
	case !s.watching():
		return time.Time{}
	case r.asking:
		return r.began.Add(askFirst)
	default:
		return r.stepEnds
	}
}

// accepting returns nil while clients may use the node: until the step sessions, also while the
// process stops, so that health checks don't report a node that leaves as one that fails.
func (s state) accepting() error {
	switch {
	case s.serving:
		return nil
	case s.status != nil && s.status.Reason != "":
		return fmt.Errorf("the node is %s: %s", s.phase, s.status.Reason)
	}
	return errors.New("the node is " + string(s.phase))
}
