package network

import (
	"context"
	"slices"
	"time"

	"anymx/edge/config"
	"anymx/edge/program"
	"anymx/edge/tunnel"
)

// reloads reloads for each SIGHUP, until ctx ends.
func (n *network) reloads(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.env.Reload:
			n.reload(ctx)
		}
	}
}

// reload takes the config and the keys as they are now. If they are wrong, nothing
// changes.
func (n *network) reload(ctx context.Context) {
	next, err := config.Load(n.env.File, Sections...)
	if err != nil {
		n.keep(err)
		return
	}
	before := n.inForce()
	taken := before.Take(next)
	var s tunnel.Settings
	if n.core != nil {
		if s, err = settings(taken.Tunnel); err != nil {
			n.keep(err)
			return
		}
	}
	var filter shieldPlan
	if n.shield != nil {
		if filter, err = n.shield.prepare(taken); err != nil {
			n.keep(err)
			return
		}
	}
	program.SetLevel(n.env.Level, next)
	n.plumbing.SetEvery(time.Duration(taken.Net.Repair))
	restart := before.NeedsRestart(next)
	changed := slices.DeleteFunc(before.Changed(next), func(key string) bool { return slices.Contains(restart, key) })
	n.mu.Lock()
	n.config = taken
	n.about.Loaded, n.about.Problem, n.about.Restart = time.Now(), "", restart
	n.mu.Unlock()
	n.log.Info("reloaded", "changed", changed, "restart", restart)

	if n.shield != nil { // before there is an address that it protects
		n.shield.apply(filter)
	}
	// What was allowed before is still guarded until the tunnel knows of it no more.
	if err := n.set(ctx, append(wants(before), wants(taken)...)); err != nil {
		n.log.Error("what is new could not be put in place", "err", err)
	}
	if n.core != nil {
		if err := n.core.apply(ctx, s); err != nil {
			n.log.Error("the tunnel could not be changed; it is tried again", "err", err)
		}
	}
	if err := n.set(ctx, wants(taken)); err != nil {
		n.log.Error("what is old could not be taken away", "err", err)
	}
}

// keep says why a reload changed nothing.
func (n *network) keep(err error) {
	n.mu.Lock()
	n.about.Problem = err.Error()
	n.mu.Unlock()
	n.log.Error("reload changed nothing", "err", err)
}

func (n *network) inForce() *config.Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.config
}
