package network

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"anymx/edge/service"
	"anymx/edge/uplink/tunnel"
)

// again is how long opening the tunnel waits after it failed.
const again = 5 * time.Second

// core is the way to core: the tunnel, opened and held open.
type core struct {
	options tunnel.Options
	log     *slog.Logger
	// read gives the settings as they are wanted, with the keys as their files
	// are now.
	read func() (tunnel.Settings, error)
	// degraded is told of keys that can't be read.
	degraded *service.Degraded

	busy sync.Mutex // held while the tunnel is opened or changed, which may look names up

	mu      sync.Mutex
	tunnel  *tunnel.Tunnel // nil: it is not open
	problem error          // why it is not, or not as it should be
}

// apply tells the tunnel what is wanted, if it is open. What it can't do it
// tries again by itself.
func (c *core) apply(ctx context.Context, s tunnel.Settings) error {
	c.busy.Lock()
	defer c.busy.Unlock()
	t, _ := c.opened()
	if t == nil {
		return nil
	}
	return t.Apply(ctx, s)
}

// opened is the open tunnel, nil if there is none, and why it is not as it should be.
func (c *core) opened() (*tunnel.Tunnel, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tunnel, c.problem
}

// open reads the settings, opens the tunnel and applies them.
func (c *core) open(ctx context.Context) *tunnel.Tunnel {
	c.busy.Lock()
	defer c.busy.Unlock()
	t, err := c.begin(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && (c.problem == nil || c.problem.Error() != err.Error()) {
		c.log.Error("the tunnel is not open: mail waits", "err", err)
	}
	c.tunnel, c.problem = t, err
	return t
}

// settings reads the settings and reports the keys that can't be read. It errs if
// there is no tunnel without one.
func (c *core) settings() (tunnel.Settings, error) {
	s, err := c.read()
	alone, rest := service.SplitAlone(err)
	c.degraded.ReportAll(partKey, alone)
	if rest == nil && s.PrivateKey.IsZero() {
		rest = err
	}
	return s, rest
}

func (c *core) begin(ctx context.Context) (*tunnel.Tunnel, error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	t, err := tunnel.Open(c.options)
	if err != nil {
		return nil, err
	}
	if err := t.Apply(ctx, s); err != nil {
		c.log.Error("the tunnel is not as it should be", "err", err) // it tries again by itself
	}
	return t, nil
}

// run holds the tunnel open until ctx ends. opened is what open returned before,
// nil if it failed. What is there stays there.
func (c *core) run(ctx context.Context, opened *tunnel.Tunnel) {
	for {
		for opened == nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(again):
			}
			opened = c.open(ctx)
		}
		err := opened.Run(ctx) // returns at once if ctx has ended meanwhile
		c.mu.Lock()
		c.tunnel, c.problem = nil, err
		c.mu.Unlock()
		if err != nil {
			c.log.Error("the tunnel is not watched any more; it is opened again", "err", err)
		}
		if err := opened.Close(); err != nil {
			c.log.Error("the tunnel does not close", "err", err)
		}
		opened = nil
	}
}

// status is how the tunnel is. open is false if there is nothing but a problem.
func (c *core) status() (s tunnel.Status, open bool) {
	t, problem := c.opened()
	if t != nil {
		return t.Status(), true
	}
	s.Interface = c.options.Interface
	if problem != nil {
		s.Problem = problem.Error()
	}
	return s, false
}
