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
	return errors.Join(rest, n.degraded.NewlyMissing(partKey, alone))
}

// prepareConfig checks the keys of the tunnel and what the shield needs of the next config: one
// that is newly broken refuses a reload. A key that was missing before costs only itself.
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
		n.log.Error("what is new could not be put in place", "err", err)
	}
	if n.core != nil {
		n.applyCore(ctx)
	}
	if err := n.set(ctx, wants(next)); err != nil {
		n.log.Error("what is old could not be taken away", "err", err)
	}
}

func (n *network) inForce() *config.Config { return n.reloader.Config() }
