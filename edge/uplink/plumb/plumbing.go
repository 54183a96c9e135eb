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

// netlinkTimeout bounds one question to the kernel, which answers at once.
const netlinkTimeout = 10 * time.Second

// maxPasses bounds how often one Set compares and acts: what a step takes away
// beside its own thing, as the last address of a device takes its routes, is then
// put back.
const maxPasses = 3

// maxLines bounds the lines that one comparison logs for things.
const maxLines = 20

// Options is what a Plumbing needs.
type Options struct {
	Log *slog.Logger // nil: nothing is logged
	// Every is how often Run compares although the kernel told of no change. 0
	// means 30s.
	Every time.Duration
}

// Plumbing keeps what is wanted in one network namespace: the one of the thread
// that called Open. It is safe for concurrent use.
type Plumbing struct {
	log    *slog.Logger
	every  time.Duration
	events *events

	mu      sync.Mutex // held through a whole comparison
	kernel  *kernel
	wants   []Want
	wanted  map[Thing]bool   // by place
	stood   map[Thing]bool   // by place: what has stood since it was wanted
	paces   map[Thing]*pace  // by place: what was put back lately
	problem map[Thing]string // by place, of what is wanted and of what is left

	statusMu sync.Mutex
	status   Status
}

// State is a want and what became of it.
type State struct {
	Want
	Present bool
	Problem string // why not; "" if it is there, or was taken away a moment ago
}

// Status is what is wanted and what there is.
type Status struct {
	Things   []State
	Left     []State   // what is ours and not wanted, and could not be taken away
	Repaired int64     // how often a thing was put back that others had taken away or changed
	Retried  int64     // how often an address was tried again that another host had
	Fought   int       // how many things are taken away again and again, and wait to be put back
	Compared time.Time // when the kernel was last asked; the zero Time: never
	Problem  string    // why it could not be asked; "" if it could
}

// Open opens the namespace of the calling thread and begins to listen to its
// changes. Nothing is wanted yet, and nothing is changed until Set.
func Open(o Options) (*Plumbing, error) {
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
		log: o.Log, every: o.Every, kernel: k, events: e,
		stood: map[Thing]bool{}, paces: map[Thing]*pace{}, problem: map[Thing]string{},
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.every <= 0 {
		p.every = 30 * time.Second
	}
	return p, nil
}

// Close lets go of the namespace. What was made stays. It is called after Run has ended.
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

// SetEvery changes Options.Every, from the next comparison on.
func (p *Plumbing) SetEvery(every time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every = every
}

// Plan says what Set would do, and does nothing. It needs no privilege. Things
// whose device does not exist are among the steps.
func (p *Plumbing) Plan(wants []Want) ([]Step, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, have, err := p.kernel.read()
	if err != nil {
		return nil, err
	}
	return plan(wants, have), nil
}

// Set makes wants what is wanted, does what is missing for it, and takes away what
// is ours and not wanted. It is done for all that can be done: what cannot is a
// problem in Status, and is tried again by Run. The error is for a kernel that
// cannot be asked at all, and for a process that may not change anything: then
// errors.Is finds unix.EPERM.
func (p *Plumbing) Set(ctx context.Context, wants []Want) ([]Step, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wants, p.wanted = order(wants), make(map[Thing]bool, len(wants))
	for _, w := range p.wants {
		p.wanted[w.place()] = true
	}
	p.events.expect(p.wants)
	for place := range p.stood {
		if !p.wanted[place] {
			delete(p.stood, place)
			delete(p.paces, place)
			delete(p.problem, place)
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

// pass compares once, acts, and keeps what it found for Status. It returns the
// steps that were done.
func (p *Plumbing) pass(ctx context.Context, now time.Time) ([]Step, error) {
	devices, have, err := p.kernel.read()
	if err != nil {
		p.note(func(s *Status) { s.Problem = err.Error() })
		return nil, err
	}
	work := &work{Plumbing: p, devices: devices, held: byPlace(have), now: now, failed: map[Thing]error{}}
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
	p.settle(work, have)
	return work.done, errors.Join(ctx.Err(), work.forbidden)
}

// settle takes down what stands after a pass.
func (p *Plumbing) settle(work *work, have []found) {
	held := byPlace(have)
	things := make([]State, len(p.wants))
	fought := 0
	for i, w := range p.wants {
		place := w.place()
		pace, text, there := p.paces[place], "", held[place]
		// One that is tried again is not there before the kernel has asked.
		there.duplicate = there.duplicate || there.tentative && pace != nil && pace.duplicate
		things[i] = State{Want: w, Present: standing(w, held) && !there.duplicate}
		p.stood[place] = p.stood[place] || things[i].Present
		contested := pace != nil && pace.fought(work.now)
		if contested {
			fought++
		}
		if !things[i].Present {
			text = reason(w, there, work.failed[place], contested)
		}
		things[i].Problem = text
		if p.problem[place] != text && text != "" {
			level := slog.LevelError
			if errors.Is(work.failed[place], errNoDevice) {
				level = slog.LevelWarn // as when a node starts, before its tunnel
			}
			work.line(level, "not there", "what", w.String(), "kind", w.Kind(), "purpose", w.Purpose, "problem", text)
		}
		p.problem[place] = text
	}
	left := work.left(have)
	work.rest()
	p.note(func(s *Status) {
		s.Things, s.Left, s.Fought, s.Compared, s.Problem = things, left, fought, work.now, ""
		s.Repaired += work.repaired
		s.Retried += work.retried
	})
}

// left is what should have been taken away.
func (w *work) left(have []found) []State {
	var left []State
	for _, f := range have {
		place := f.place()
		if !f.ours || w.wanted[place] {
			continue
		}
		text := "it is still there"
		if err := w.failed[place]; err != nil {
			text = explain(f.Thing, err)
		}
		left = append(left, State{Want: Want{Thing: f.Thing}, Present: true, Problem: text})
		if w.problem[place] != text {
			w.line(slog.LevelError, "not taken away", "what", f.String(), "kind", f.Kind(), "problem", text)
		}
		w.problem[place] = text
	}
	for place := range w.problem { // of what went after all nothing is kept
		if !w.wanted[place] && !slices.ContainsFunc(left, func(s State) bool { return s.place() == place }) {
			delete(w.problem, place)
		}
	}
	return left
}

// reason is why a want does not stand.
func reason(w Want, there found, err error, contested bool) string {
	switch {
	case there.duplicate:
		return "another host has this address: duplicate address detection found it"
	case err != nil:
		return explain(w.Thing, err)
	case contested:
		return "something else takes it away again and again; it is put back after growing pauses"
	}
	return ""
}

func (p *Plumbing) note(change func(*Status)) {
	p.statusMu.Lock()
	defer p.statusMu.Unlock()
	change(&p.status)
}

// errNoDevice is for things on a device that does not exist.
var errNoDevice = errors.New("there is no such device")

// explain says what an error of the kernel means for a thing.
func explain(t Thing, err error) string {
	switch {
	case errors.Is(err, errNoDevice):
		return fmt.Sprintf("there is no device %s; it is done when there is", t.Device())
	case errors.Is(err, unix.EPERM):
		return "this process may not change the network: it lacks CAP_NET_ADMIN"
	case errors.Is(err, unix.EEXIST) && t.Kind() == "route":
		return "another route, which was not made here, has its prefix, table and metric"
	case errors.Is(err, unix.ENETDOWN) && t.Device() != "":
		return fmt.Sprintf("device %s is down; it is done when it is up", t.Device())
	case errors.Is(err, unix.ENETDOWN):
		return "device lo is down; it is done when it is up"
	case errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Sprintf("the kernel has this family switched off: %s", err)
	}
	return err.Error()
}
