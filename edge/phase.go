package edge

import (
	"sync"
	"time"

	"anymx/edge/control"
)

// phase is where the node stands, and since when.
type phase struct {
	mu    sync.Mutex
	now   control.Phase
	since time.Time
}

func (p *phase) set(to control.Phase, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now, p.since = to, at
}

func (p *phase) get() (control.Phase, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now, p.since
}

const (
	phaseRunning  = control.Running
	phaseStopping = control.Stopping
)
