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

// rereadEvery is how often passwords are read again while one of them can't be,
// whatever the stamps of their files say.
const rereadEvery = 30 * time.Second

// reloads reads the config again whenever it is told to, and what is missing when it
// appears, until ctx ends.
func (a *Announcer) reloads(ctx context.Context, reload <-chan struct{}) {
	tick := time.NewTicker(service.WatchEvery)
	defer tick.Stop()
	for read := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-reload:
			_ = a.Reload(ctx) // it logs its own outcome
			read = time.Now()
		case <-tick.C:
			if a.degraded.Any(partState) {
				a.degraded.Report(partState, a.store.dir, a.store.open())
			}
			again := time.Since(read) >= rereadEvery
			if a.degraded.Any(partPassword) && (again || !maps.Equal(a.stamps, stampsOf(a.inForce()))) {
				_ = a.takePeers(ctx, a.inForce()) // who is well is left alone
				read = time.Now()
			}
		}
	}
}

// stampsOf looks at the password files of c.
func stampsOf(c *config.Config) map[string]service.Stamp {
	stamps := map[string]service.Stamp{}
	for i := range c.BGP.Peers {
		if file := c.BGP.Peers[i].PasswordFile; file != "" {
			path, _ := secret.Path(file) // "" has the zero stamp
			stamps[file] = service.StampOf(path)
		}
	}
	return stamps
}

// Reload reads the config again. If anything is wrong with it, or a router would lose
// its password by it, nothing changes, and the status has the reason.
func (a *Announcer) Reload(ctx context.Context) error {
	now := a.inForce()
	var restart []string
	next, err := config.Load(a.file, Sections...)
	if err == nil {
		var taken *config.Config
		taken, restart = take(now, next)
		if err = a.newlyWithheld(taken); err == nil {
			err = a.configure(ctx, taken, restart)
		}
	}
	if err != nil {
		a.mu.Lock()
		a.problem = err.Error()
		a.mu.Unlock()
		a.metrics.reloads.WithLabelValues("bad").Inc()
		a.log.Error("reload changed nothing", "err", err)
		return err
	}
	service.SetLevel(a.level, next)
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
	if _, err := a.checkPeers(c); err != nil {
		return err
	}
	todo := assignment{
		checks: checksOf(c), interval: time.Duration(c.BGP.Health.Interval), timeout: time.Duration(c.BGP.Health.Timeout),
	}
	a.mu.Lock()
	a.config, a.loaded, a.problem, a.restart = c, time.Now(), "", restart
	a.names = todo.names()
	maps.DeleteFunc(a.results, func(name string, c api.HealthCheck) bool {
		return !c.Information && !slices.Contains(a.names, name)
	})
	a.settle()
	a.mu.Unlock()
	a.watch.assign(todo)
	if untold := c.Untold(); len(untold) > 0 {
		a.log.Warn("no router is offered the family of these prefixes: a next hop or a router is missing", "prefixes", untold)
	}
	return a.takePeers(ctx, c)
}

// wantedPeers are the routers of a config that can be dialled, and those that lack
// their password.
type wantedPeers struct {
	peers    []bgp.Peer
	problems map[string]error // by address
}

// checkPeers reads the passwords and says what is wrong with c. A password that can't
// be read is not.
func (a *Announcer) checkPeers(c *config.Config) (wantedPeers, error) {
	peers, err := peersOf(c, a.read)
	problems, err := service.SplitAlone(err)
	if err == nil {
		err = bgp.Check(c.BGP.ASN, peers, routesOf(c.Anycast.Prefixes, api.Graceful))
	}
	return wantedPeers{peers, problems}, err
}

// newlyWithheld says which routers of c lack a password that they did not lack before.
func (a *Announcer) newlyWithheld(c *config.Config) error {
	want, err := a.checkPeers(c)
	errs := []error{err}
	for _, address := range slices.Sorted(maps.Keys(want.problems)) {
		if !a.degraded.Has(partPassword, address) {
			errs = append(errs, want.problems[address])
		}
	}
	return errors.Join(errs...)
}

// takePeers makes the speaker dial the routers of c whose password is known. One
// goroutine at a time calls it.
func (a *Announcer) takePeers(ctx context.Context, c *config.Config) error {
	a.stamps = stampsOf(c) // before they are read: a later change is another stamp
	want, err := a.checkPeers(c)
	if err != nil {
		return err
	}
	a.degraded.ReportAll(partPassword, want.problems)
	a.mu.Lock()
	a.withheld = withheld(c, want.peers, want.problems, time.Now())
	a.mu.Unlock()
	wait, cancel := context.WithTimeout(ctx, closing)
	defer cancel()
	if err := a.speaker.SetPeers(wait, want.peers); err != nil {
		a.log.Warn("routers changed", "err", err) // Check has refused what is wrong: this is who does not let go
	}
	return nil
}
