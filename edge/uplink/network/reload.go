package network

import (
	"context"
	"errors"
	"time"

	"anymx/edge/config"
	"anymx/edge/secret"
	"anymx/edge/service"
)

// newReloader makes what follows the config file and reads a missing key when it appears.
func (n *network) newReloader() *service.Reloader {
	return service.NewReloader(service.ReloadOptions{
		File: n.env.File, Sections: Sections, Config: n.env.Config, Log: n.log, Level: n.env.Level, Requests: n.env.Reload,
		Prepare: n.prepareConfig,
		Files:   func(c *config.Config) []string { return keyPaths(c.Tunnel) },
		Reread:  func(ctx context.Context, _ bool) { n.applyCore(ctx) },
		Missing: func() bool { return n.core != nil && n.degraded.Any(partKey) }, OnlyMissing: true,
	})
}

// keyPaths are the paths of a tunnel's keys, none for nil.
func keyPaths(t *config.Tunnel) []string {
	if t == nil {
		return nil
	}
	files := keyFiles(t)
	for i, name := range files {
		files[i], _ = secret.Path(name) // "" is a file without a path
	}
	return files
}

// applyCore applies config and keys to the tunnel. Without its own key it stays as it is.
func (n *network) applyCore(ctx context.Context) {
	s, err := n.core.settings()
	if err == nil {
		err = n.core.apply(ctx, s)
	}
	if err != nil {
		n.log.Error("changing the tunnel failed, retrying", "err", err)
	}
}

// brokenKeys returns an error for the tunnel's keys that became unreadable.
func (n *network) brokenKeys(t *config.Tunnel) error {
	_, err := n.keys.settings(t)
	alone, rest := service.SplitAlone(err)
	return errors.Join(rest, n.degraded.NewlyMissing(partKey, alone))
}

// prepareConfig checks the keys of the tunnel and what the shield needs of the next config: one
// that is newly broken refuses a reload. A key that was missing before affects only itself.
func (n *network) prepareConfig(ctx context.Context, now, next *config.Config) (apply func(), err error) {
	if n.core != nil {
		if err := n.brokenKeys(next.Tunnel); err != nil {
			return nil, err
		}
	}
	var filter shieldPlan
	if n.shield != nil {
		if filter, err = n.shield.prepare(next); err != nil {
			return nil, err
		}
	}
	return func() { n.applyConfig(ctx, now, next, filter) }, nil
}

// applyConfig puts next in place of now.
func (n *network) applyConfig(ctx context.Context, now, next *config.Config, filter shieldPlan) {
	n.plumbing.SetEvery(time.Duration(next.Net.Repair))
	if n.shield != nil { // before there is an address that it protects
		n.shield.apply(filter)
	}
	// What was allowed before stays guarded until the tunnel has dropped it.
	if err := n.set(ctx, append(wants(now), wants(next)...)); err != nil {
		n.log.Error("applying the new config failed", "err", err)
	}
	if n.core != nil {
		n.applyCore(ctx)
	}
	if err := n.set(ctx, wants(next)); err != nil {
		n.log.Error("removing the old config failed", "err", err)
	}
}

func (n *network) inForce() *config.Config { return n.reloader.Config() }
