package plumb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// netlinkTimeout bounds one request to the kernel, which answers at once.
const netlinkTimeout = 10 * time.Second

// maxPasses bounds how often one Set compares and acts: what a step removes besides its own thing,
// as the last address of a device takes its routes with it, is restored in the next pass.
const maxPasses = 3

// maxLines bounds the lines that one comparison logs about things.
const maxLines = 20

// Options is what a Plumbing needs.
type Options struct {
	Log *slog.Logger // nil: nothing is logged
	// Every is how often Run compares without a notification from the kernel. 0 means 30s.
	Every time.Duration
}

// Plumbing keeps what is wanted in one network namespace: that of the thread that called Open. It
// is safe for concurrent use.
type Plumbing struct {
	log    *slog.Logger
	every  time.Duration
	events *events

	mu         sync.Mutex // held through a whole comparison
	kernel     *kernel
	wants      []Want
	wanted     map[Thing]bool   // by key
	wasPresent map[Thing]bool   // by key: what was present since it was wanted
	paces      map[Thing]*pace  // by key: what was restored lately
	problem    map[Thing]string // by key, of what is wanted and of what could not be removed

	statusMu sync.Mutex
	status   Status
}

// State is a want and what became of it.
type State struct {
	Want
	Present bool
	Problem string // why it is not present; "" if it is, or was removed a moment ago
}

// Status is what is wanted and what the kernel has.
type Status struct {
	Things    []State
	Left      []State   // what is ours, not wanted, and could not be removed
	Repaired  int64     // how often a thing was restored that others had removed or changed
	Retried   int64     // how often an address was retried that another host used
	Contested int       // how many things are removed repeatedly, and wait to be restored
	Compared  time.Time // when the kernel was last read; the zero Time: never
	Problem   string    // why it could not be read; "" if it could
}

// Open opens the namespace of the calling thread and starts to listen to its changes. Nothing is
// wanted yet, and nothing changes until Set.
func Open(options Options) (*Plumbing, error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	e, err := listen()
	if err != nil {
		k.close()
		return nil, err
	}
	p := &Plumbing{
		log: options.Log, every: options.Every, kernel: k, events: e,
		wasPresent: map[Thing]bool{}, paces: map[Thing]*pace{}, problem: map[Thing]string{},
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.every <= 0 {
		p.every = 30 * time.Second
	}
	return p, nil
}

// Close releases the namespace. What was made stays. Call it after Run has ended.
func (p *Plumbing) Close() {
	p.events.close()
	p.kernel.close()
}

// Status is the state after the last comparison.
func (p *Plumbing) Status() Status {
	p.statusMu.Lock()
	defer p.statusMu.Unlock()
	return p.status
}

// SetEvery changes Options.Every. It also shortens the waits that have begun: the next comparison,
// and the pauses before a thing is restored or retried.
func (p *Plumbing) SetEvery(every time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if every == p.every {
		return
	}
	p.every = every
	for _, pace := range p.paces {
		pace.pause = min(pace.pause, every)
	}
	p.events.touch()
}

// Plan returns what Set would do, and does nothing. It needs no privilege. Steps whose device does
// not exist are included.
func (p *Plumbing) Plan(wants []Want) ([]Step, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, have, err := p.kernel.read()
	if err != nil {
		return nil, err
	}
	return plan(wants, have), nil
}

// Set makes wants the wanted things, adds what is missing, and removes what is ours and not wanted.
// It does all that can be done: the rest is a problem in Status, which Run retries. The error is
// for a kernel that can't be read at all, and for a process that may not change anything: then
// errors.Is finds unix.EPERM.
func (p *Plumbing) Set(ctx context.Context, wants []Want) ([]Step, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wants, p.wanted = sortWants(wants), make(map[Thing]bool, len(wants))
	for _, w := range p.wants {
		p.wanted[w.key()] = true
	}
	p.events.expect(p.wants)
	for key := range p.wasPresent {
		if !p.wanted[key] {
			delete(p.wasPresent, key)
			delete(p.paces, key)
			delete(p.problem, key)
		}
	}
	var done []Step
	for range maxPasses {
		steps, err := p.pass(ctx, time.Now())
		done = append(done, steps...)
		if err != nil || len(steps) == 0 {
			return done, err
		}
	}
	return done, nil
}

// pass compares once, acts, and records what it found for Status. It returns the steps that were
// done.
func (p *Plumbing) pass(ctx context.Context, now time.Time) ([]Step, error) {
	devices, have, err := p.kernel.read()
	if err != nil {
		p.note(func(s *Status) { s.Problem = err.Error() })
		return nil, err
	}
	work := &work{Plumbing: p, devices: devices, held: byKey(have), now: now, failed: map[Thing]error{}}
	for _, step := range plan(p.wants, have) {
		if ctx.Err() != nil {
			break
		}
		work.do(step)
	}
	if len(work.done) > 0 {
		if _, have, err = p.kernel.read(); err != nil {
			p.note(func(s *Status) { s.Problem = err.Error() })
			return work.done, err
		}
	}
	p.recordPass(work, have)
	return work.done, errors.Join(ctx.Err(), work.forbidden)
}

// recordPass records the state after a pass.
func (p *Plumbing) recordPass(work *work, have []found) {
	held := byKey(have)
	things := make([]State, len(p.wants))
	contested := 0
	for i, w := range p.wants {
		key := w.key()
		pace, text, there := p.paces[key], "", held[key]
		// A retried address does not count before its duplicate address detection has ended.
		there.duplicate = there.duplicate || there.tentative && pace != nil && pace.duplicate
		things[i] = State{Want: w, Present: present(w, held) && !there.duplicate}
		p.wasPresent[key] = p.wasPresent[key] || things[i].Present
		isContested := pace != nil && pace.contested(work.now)
		if isContested {
			contested++
		}
		if !things[i].Present {
			text = reason(w, there, work.failed[key], isContested)
		}
		things[i].Problem = text
		if p.problem[key] != text && text != "" {
			level := slog.LevelError
			if errors.Is(work.failed[key], errNoDevice) {
				level = slog.LevelWarn // as when a node starts, before its tunnel
			}
			work.line(level, "missing", "what", w.String(), "kind", w.Kind(), "purpose", w.Purpose, "problem", text)
		}
		p.problem[key] = text
	}
	left := work.left(have)
	work.logOmitted()
	p.note(func(s *Status) {
		s.Things, s.Left, s.Contested, s.Compared, s.Problem = things, left, contested, work.now, ""
		s.Repaired += work.repaired
		s.Retried += work.retried
	})
}

// left returns what should have been removed.
func (w *work) left(have []found) []State {
	var left []State
	for _, f := range have {
		key := f.key()
		if !f.ours || w.wanted[key] {
			continue
		}
		text := "it still exists"
		if err := w.failed[key]; err != nil {
			text = explain(f.Thing, err)
		}
		left = append(left, State{Want: Want{Thing: f.Thing}, Present: true, Problem: text})
		if w.problem[key] != text {
			w.line(slog.LevelError, "not removed", "what", f.String(), "kind", f.Kind(), "problem", text)
		}
		w.problem[key] = text
	}
	for key := range w.problem { // forget the problems of what was removed after all
		if !w.wanted[key] && !slices.ContainsFunc(left, func(s State) bool { return s.key() == key }) {
			delete(w.problem, key)
		}
	}
	return left
}

// reason is why a want is not present.
func reason(w Want, there found, err error, contested bool) string {
	switch {
	case there.duplicate:
		return "another host has this address: duplicate address detection found it"
	case err != nil:
		return explain(w.Thing, err)
	case contested:
		return "another program removes it repeatedly; it is restored after growing pauses"
	}
	return ""
}

func (p *Plumbing) note(change func(*Status)) {
	p.statusMu.Lock()
	defer p.statusMu.Unlock()
	change(&p.status)
}

// errNoDevice is the error of things on a device that does not exist.
var errNoDevice = errors.New("no such device")

// explain says what an error of the kernel means for a thing.
func explain(t Thing, err error) string {
	switch {
	case errors.Is(err, errNoDevice):
		return fmt.Sprintf("device %s does not exist; it is added once the device exists", t.Device())
	case errors.Is(err, unix.EPERM):
		return "not permitted to change the network: CAP_NET_ADMIN is missing"
	case errors.Is(err, unix.EEXIST) && t.Kind() == "route":
		return "another program's route has this prefix, table and metric"
	case errors.Is(err, unix.ENETDOWN) && t.Device() != "":
		return fmt.Sprintf("device %s is down; it is added once the device is up", t.Device())
	case errors.Is(err, unix.ENETDOWN):
		return "device lo is down; it is added once the device is up"
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Sprintf("the kernel has this address family disabled: %s", err)
	}
	return err.Error()
}
