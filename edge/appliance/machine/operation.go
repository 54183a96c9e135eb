package machine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/refusal"
)

// operation is a running operation. It reports its progress to its client, and continues without it
// once it is detached.
type operation struct {
	kind   string
	began  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed at its end
	poke   chan struct{} // something is pending, or it has ended

	mu      sync.Mutex
	last    api.MachineProgress
	pending []api.MachineProgress // not sent yet
	final   *api.MachineProgress  // sent at the end, if err is nil then
	err     error                 // why it ended
	kept    bool
	gone    bool // nobody follows
}

// errGone ends an operation whose client disconnected before it was detached.
var errGone = errors.New("the client disconnected before the bundle was complete: nothing was changed")

// start starts an operation, unless one is running.
func (m *Machine) start(kind string, run func(*operation) error) (*operation, error) {
	o := &operation{kind: kind, began: time.Now(), done: make(chan struct{}), poke: make(chan struct{}, 1)}
	o.ctx, o.cancel = context.WithCancel(m.ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.operation != nil {
		o.cancel()
		return nil, refusal.Conflict.Errorf("%s is already running, since %s: see anymx update --status",
			withArticle(m.operation.kind), time.Since(m.operation.began).Truncate(time.Second))
	}
	m.operation = o
	m.work.Go(func() {
		err := run(o)
		o.cancel()
		m.mu.Lock()
		m.operation = nil
		m.mu.Unlock()
		o.end(err)
	})
	return o, nil
}

func withArticle(kind string) string {
	if kind == "update" {
		return "an update"
	}
	return "a " + kind
}

// report adds a progress message. Only the last byte count of a step that was not sent yet is sent.
func (o *operation) report(p api.MachineProgress) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = p
	if n := len(o.pending); n > 0 && o.pending[n-1].Step == p.Step && o.pending[n-1].Text == p.Text {
		o.pending[n-1] = p
	} else if !o.gone {
		o.pending = append(o.pending, p)
	}
	o.wake()
}

// reportText adds a message about a step.
func (o *operation) reportText(step api.MachineStep, format string, args ...any) {
	o.report(api.MachineProgress{Step: step, Text: fmt.Sprintf(format, args...)})
}

// reportDone sets the final message. It is sent once the next operation can start.
func (o *operation) reportDone(step api.MachineStep, format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.final = &api.MachineProgress{Step: step, Text: fmt.Sprintf(format, args...), Ended: true}
}

// detach makes the operation continue without its client. It fails if that has disconnected
// already.
func (o *operation) detach() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone {
		return errGone
	}
	o.kept = true
	return nil
}

// leave records that nobody follows any more, and ends the operation unless it is detached.
func (o *operation) leave() {
	o.mu.Lock()
	o.gone, o.pending = true, nil
	kept := o.kept
	o.mu.Unlock()
	if !kept {
		o.cancel()
		<-o.done // the request's body must not be read after this
	}
}

func (o *operation) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
	if err == nil && o.final != nil {
		o.pending = append(o.pending, *o.final)
	}
	close(o.done)
	o.wake()
}

func (o *operation) wake() {
	select {
	case o.poke <- struct{}{}:
	default: // already poked
	}
}

// next returns what is pending; over once the operation has ended.
func (o *operation) next() (pending []api.MachineProgress, over bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	pending, o.pending = o.pending, nil
	select {
	case <-o.done:
		over = true
	default:
	}
	return pending, over, o.err
}

func (o *operation) progress() api.MachineProgress {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// follow sends what an operation reports until it has ended, or the client has disconnected.
func (o *operation) follow(r *http.Request, send func(any) error) error {
	for {
		pending, over, err := o.next()
		for _, p := range pending {
			if send(p) != nil {
				o.leave()
				return nil
			}
		}
		if over {
			return err
		}
		select {
		case <-o.poke:
		case <-r.Context().Done():
			o.leave()
			return nil
		}
	}
}
