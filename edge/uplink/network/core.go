package network

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"anymx/edge/service"
	"anymx/edge/uplink/tunnel"
)

// again is the pause before opening the tunnel is retried.
const again = 5 * time.Second

// core is the path to core: the tunnel, opened and kept open.
type core struct {
	options tunnel.Options
	log     *slog.Logger
	// read returns the wanted settings, with the keys from their files.
	read func() (tunnel.Settings, error)
	// degraded reports keys that can't be read.
	degraded *service.Degraded

	busy sync.Mutex // held while the tunnel is opened or changed, which may look names up

	mu      sync.Mutex
	tunnel  *tunnel.Tunnel // nil: not open
	problem error          // why it is not open or not set up
}

// apply applies settings to the tunnel, if it is open. The tunnel itself retries what fails.
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
	t, err := c.openAndApply(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && (c.problem == nil || c.problem.Error() != err.Error()) {
		c.log.Error("tunnel not open, mail for core waits", "err", err)
	}
	c.tunnel, c.problem = t, err
	return t
}

// settings reads the settings and reports the keys that can't be read. It fails on a key without
// which there is no tunnel.
func (c *core) settings() (tunnel.Settings, error) {
	s, err := c.read()
	alone, rest := service.SplitAlone(err)
	c.degraded.ReportAll(partKey, alone)
	if rest == nil && s.PrivateKey.IsZero() {
		rest = err
	}
	return s, rest
}

func (c *core) openAndApply(ctx context.Context) (*tunnel.Tunnel, error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	t, err := tunnel.Open(c.options)
	if err != nil {
		return nil, err
	}
	if err := t.Apply(ctx, s); err != nil {
		c.log.Error("tunnel setup failed, retrying", "err", err) // it retries by itself
	}
	return t, nil
}

// run keeps the tunnel open until ctx ends. opened is what open returned before, nil if it failed.
// The device stays.
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
			c.log.Error("watching the tunnel failed, reopening it", "err", err)
		}
		if err := opened.Close(); err != nil {
			c.log.Error("closing the tunnel failed", "err", err)
		}
		opened = nil
	}
}

// status returns the state of the tunnel. open is false if it contains only a problem.
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
