package network

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"anymx/edge/config"
	"anymx/edge/secret"
	"anymx/edge/service"
)

// rereadEvery is how often keys are read again while one of them can't be, whatever
// the stamps of their files say.
const rereadEvery = 30 * time.Second

// reloads reloads for each SIGHUP, and reads a key that is missing when it appears,
// until ctx ends.
func (n *network) reloads(ctx context.Context) {
	tick := time.NewTicker(service.WatchEvery)
	defer tick.Stop()
	seen, read := map[string]service.Stamp{}, time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.env.Reload:
			n.reload(ctx)
		case <-tick.C:
			if n.core == nil || !n.degraded.Any(partKey) {
				clear(seen)
				continue
			}
			now := stampsOf(keyFiles(n.inForce().Tunnel))
			if maps.Equal(seen, now) && time.Since(read) < rereadEvery {
				continue
			}
			seen, read = now, time.Now()
			n.applyCore(ctx)
		}
	}
}

// stampsOf looks at files.
func stampsOf(names []string) map[string]service.Stamp {
	stamps := map[string]service.Stamp{}
	for _, name := range names {
		path, _ := secret.Path(name) // "" has the zero stamp
		stamps[name] = service.StampOf(path)
	}
	return stamps
}

// applyCore makes the tunnel what the config and the keys say now. Without its own key
// it stays as it is.
func (n *network) applyCore(ctx context.Context) {
	s, err := n.core.settings()
	if err == nil {
		err = n.core.apply(ctx, s)
	}
	if err != nil {
		n.log.Error("the tunnel could not be changed; it is attempted again", "err", err)
	}
}

// brokenKeys says which keys of the tunnel can't be read and were not missing before.
func (n *network) brokenKeys(t *config.Tunnel) error {
	_, err := n.keys.settings(t)
	alone, rest := service.SplitAlone(err)
	errs := []error{rest}
	for _, name := range slices.Sorted(maps.Keys(alone)) {
		if !n.degraded.Has(partKey, name) {
			errs = append(errs, alone[name])
		}
	}
	return errors.Join(errs...)
}

// reload takes the config and the keys as they are now. If the config is wrong, or
// what the shield's keys name, nothing changes; nor if a key of the tunnel has broken.
// One that was missing before still costs itself alone.
func (n *network) reload(ctx context.Context) {
	next, err := config.Load(n.env.File, Sections...)
	if err != nil {
		n.keep(err)
		return
	}
	before := n.inForce()
	taken := before.Take(next)
	if n.core != nil {
		if err := n.brokenKeys(taken.Tunnel); err != nil {
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
	service.SetLevel(n.env.Level, next)
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
		n.applyCore(ctx)
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
