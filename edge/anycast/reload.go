package anycast

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"anymx/bgp"
	"anymx/edge/config"
	"anymx/edge/control"
	"anymx/edge/program"
)

// reloads reads the config again whenever it is told to, until ctx ends.
func (a *Announcer) reloads(ctx context.Context, reload <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-reload:
			_ = a.Reload(ctx) // it logs its own outcome
		}
	}
}

// Reload reads the config again. If anything is wrong with it nothing changes,
// and the status has the reason.
func (a *Announcer) Reload(ctx context.Context) error {
	now := a.inForce()
	var restart []string
	next, err := config.Load(a.file, Sections...)
	if err == nil {
		var taken *config.Config
		taken, restart = take(now, next)
		err = a.configure(ctx, taken, restart)
	}
	if err != nil {
		a.mu.Lock()
		a.problem = err.Error()
		a.mu.Unlock()
		a.metrics.reloads.WithLabelValues("bad").Inc()
		a.log.Error("reload changed nothing", "err", err)
		return err
	}
	program.SetLevel(a.level, next)
	a.metrics.reloads.WithLabelValues("good").Inc()
	changed := slices.DeleteFunc(now.Changed(next), func(key string) bool { return slices.Contains(restart, key) })
	a.log.Info("reloaded", "changed", changed, "restart", restart)
	return nil
}

// take is what is in force after a reload, and the keys that wait for a restart
// of this program. Keys of anymx-edge wait for that one's: here they only say
// what is probed, and a probe goes where the file says now.
func take(now, next *config.Config) (*config.Config, []string) {
	taken := now.Take(next)
	taken.Ingress, taken.Node.Control = next.Ingress, next.Node.Control
	restart := slices.DeleteFunc(now.NeedsRestart(next), func(key string) bool {
		return !strings.HasPrefix(key, "bgp.") && key != "node.state_dir" && key != "net.control"
	})
	return taken, restart
}

func (a *Announcer) inForce() *config.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config
}

// configure makes c the config in force, or changes nothing. restart are keys of
// the file that c does not follow yet.
func (a *Announcer) configure(ctx context.Context, c *config.Config, restart []string) error {
	peers, err := peersOf(c, a.read)
	if err != nil {
		return err
	}
	if err := bgp.Check(c.BGP.ASN, peers, routesOf(c.Anycast.Prefixes, control.Graceful)); err != nil {
		return err
	}
	todo := assignment{
		checks: checksOf(c), interval: time.Duration(c.BGP.Health.Interval), timeout: time.Duration(c.BGP.Health.Timeout),
	}
	a.mu.Lock()
	a.config, a.loaded, a.problem, a.restart = c, time.Now(), "", restart
	a.names = todo.names()
	maps.DeleteFunc(a.results, func(name string, c control.HealthCheck) bool {
		return !c.Information && !slices.Contains(a.names, name)
	})
	a.settle()
	a.mu.Unlock()
	a.watch.assign(todo)
	if untold := c.Untold(); len(untold) > 0 {
		a.log.Warn("no router is offered the family of these prefixes: a next hop or a router is missing", "prefixes", untold)
	}
	wait, cancel := context.WithTimeout(ctx, closing)
	defer cancel()
	if err := a.speaker.SetPeers(wait, peers); err != nil {
		a.log.Warn("routers changed", "err", err) // Check has refused what is wrong: this is who does not let go
	}
	return nil
}
