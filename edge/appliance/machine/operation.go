package machine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"anymx/edge/operate/api"
)

// order is one order under way. It says how far it is to whoever follows it, and goes
// on without, once it is kept.
type order struct {
	kind   string
	began  time.Time
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed at its end
	poke   chan struct{} // something is pending, or it has ended

	mu      sync.Mutex
	last    api.MachineProgress
	pending []api.MachineProgress // not taken yet
	final   *api.MachineProgress  // said at the end, if err is nil then
	err     error                 // why it ended
	kept    bool
	gone    bool // nobody follows
}

// errGone ends an order whose client has gone before it was kept.
var errGone = errors.New("the client has gone before the bundle had come whole: nothing was changed")

// start begins an order, unless one is under way.
func (m *Machine) start(kind string, run func(*order) error) (*order, error) {
	o := &order{kind: kind, began: time.Now(), done: make(chan struct{}), poke: make(chan struct{}, 1)}
	o.ctx, o.cancel = context.WithCancel(m.ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.order != nil {
		o.cancel()
		return nil, &api.Error{Code: api.Overtaken, Text: fmt.Sprintf("%s is under way, since %s: see anymx update --status",
			withArticle(m.order.kind), time.Since(m.order.began).Truncate(time.Second))}
	}
	m.order = o
	m.work.Go(func() {
		err := run(o)
		o.cancel()
		m.mu.Lock()
		m.order = nil
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

// say tells how far the order is. Octets of a step that nobody has heard of yet
// are told once, as they are last.
func (o *order) say(p api.MachineProgress) {
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

// text tells about a step.
func (o *order) text(step api.MachineStep, format string, args ...any) {
	o.say(api.MachineProgress{Step: step, Text: fmt.Sprintf(format, args...)})
}

// ended tells that all is done. It is heard when the next order may come.
func (o *order) ended(step api.MachineStep, format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.final = &api.MachineProgress{Step: step, Text: fmt.Sprintf(format, args...), Ended: true}
}

// keep has the order go on without its client. It errs if that has gone already.
func (o *order) keep() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.gone {
		return errGone
	}
	o.kept = true
	return nil
}

// leave says that nobody follows any more, and ends the order unless it is kept.
func (o *order) leave() {
	o.mu.Lock()
	o.gone, o.pending = true, nil
	kept := o.kept
	o.mu.Unlock()
	if !kept {
		o.cancel()
		<-o.done // the request's body must not be read after this
	}
}

func (o *order) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
	if err == nil && o.final != nil {
		o.pending = append(o.pending, *o.final)
	}
	close(o.done)
	o.wake()
}

func (o *order) wake() {
	select {
	case o.poke <- struct{}{}:
	default: // it is poked already
	}
}

// take takes what is pending; over once the order has ended.
func (o *order) take() (pending []api.MachineProgress, over bool, err error) {
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

func (o *order) progress() api.MachineProgress {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// follow sends what an order says until it has ended, or the client has gone.
func (o *order) follow(r *http.Request, send func(any) error) error {
	for {
		pending, over, err := o.take()
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
