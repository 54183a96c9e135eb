package anycast

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"anymx/bgp"
	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/secret"
	"anymx/edge/service"
)

// newReloader makes what follows the config file, and reads a missing password when it appears.
func (a *Announcer) newReloader(env *service.Env) *service.Reloader {
	return service.NewReloader(service.ReloadOptions{
		File: env.File, Sections: Sections, Config: env.Config, Log: env.Log, Level: env.Level, Requests: env.Reload,
		Merge: mergeConfig,
		Prepare: func(ctx context.Context, _, next *config.Config) (func(), error) {
			want, err := a.checkPeers(next)
			if err = errors.Join(err, a.degraded.NewlyMissing(partPassword, want.problems)); err != nil {
				return nil, err // a router would lose its password
			}
			return func() { a.applyConfig(ctx, next, want) }, nil
		},
		Files:   passwordPaths,
		Reread:  func(ctx context.Context, _ bool) { a.rereadPasswords(ctx) },
		Missing: func() bool { return a.degraded.Any(partPassword) }, OnlyMissing: true,
		Check: func() {
			if a.degraded.Any(partState) {
				a.degraded.Report(partState, a.store.dir, a.store.open())
			}
		},
	})
}

// passwordPaths returns the paths of the password files of c.
func passwordPaths(c *config.Config) []string {
	var paths []string
	for i := range c.BGP.Peers {
		if file := c.BGP.Peers[i].PasswordFile; file != "" {
			path, _ := secret.Path(file) // "" is a file without a path
			paths = append(paths, path)
		}
	}
	return paths
}

// mergeConfig returns what is in force after a reload, and the keys that wait for a restart of this
// program. Keys of anymx-edge that need its restart apply here at once: they only say what is
// probed, and a probe follows the file.
func mergeConfig(now, next *config.Config) (*config.Config, []string) {
	merged := now.Reloaded(next)
	merged.Ingress, merged.Node.Control = next.Ingress, next.Node.Control
	restart := slices.DeleteFunc(now.NeedsRestart(next), func(key string) bool {
		return !strings.HasPrefix(key, "bgp.") && key != "node.state_dir" && key != "net.control"
	})
	return merged, restart
}

// applyConfig puts c in force: what is checked, announced and dialled.
func (a *Announcer) applyConfig(ctx context.Context, c *config.Config, want wantedPeers) {
	todo := assignment{
		checks: checksOf(c), interval: time.Duration(c.BGP.Health.Interval), timeout: time.Duration(c.BGP.Health.Timeout),
	}
	a.mu.Lock()
	a.names = todo.names()
	maps.DeleteFunc(a.results, func(name string, c api.HealthCheck) bool {
		return !c.Information && !slices.Contains(a.names, name)
	})
	a.updateRoutes()
	a.mu.Unlock()
	a.watch.assign(todo)
	if unoffered := c.Unoffered(); len(unoffered) > 0 {
		a.log.Warn("no router is offered the family of these prefixes: a next hop or a router is missing", "prefixes", unoffered)
	}
	a.setPeers(ctx, c, want)
}

// wantedPeers are the routers of a config that can be dialled, and those whose password is missing.
type wantedPeers struct {
	peers    []bgp.Peer
	problems map[string]error // by address
}

// checkPeers reads the passwords and returns what is wrong with c. An unreadable password is not an
// error.
func (a *Announcer) checkPeers(c *config.Config) (wantedPeers, error) {
	peers, err := peersOf(c, a.read)
	problems, err := service.SplitAlone(err)
	if err == nil {
		err = bgp.Check(c.BGP.ASN, peers, routesOf(c.Anycast.Prefixes, api.Graceful))
	}
	return wantedPeers{peers, problems}, err
}

// rereadPasswords dials the routers whose password can be read now. Other sessions are not affected.
func (a *Announcer) rereadPasswords(ctx context.Context) {
	c := a.reloader.Config()
	want, err := a.checkPeers(c)
	if err != nil {
		a.log.Error("passwords can't be used", "err", err)
		return
	}
	a.setPeers(ctx, c, want)
}

// setPeers makes the speaker dial the routers of c whose password is known. One
// goroutine at a time calls it.
func (a *Announcer) setPeers(ctx context.Context, c *config.Config, want wantedPeers) {
	a.degraded.ReportAll(partPassword, want.problems)
	a.mu.Lock()
	a.withheld = withheld(c, want.peers, want.problems, time.Now())
	a.mu.Unlock()
	wait, cancel := context.WithTimeout(ctx, closing)
	defer cancel()
	if err := a.speaker.SetPeers(wait, want.peers); err != nil {
		a.log.Warn("routers changed", "err", err) // Check has refused what is wrong: this is who does not let go
	}
}
