package anycast

import (
	"context"
	"slices"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// How often anymx-net is asked, and how long its response may take. It decides nothing, so it may
// be late.
const (
	networkInterval = 10 * time.Second
	networkTimeout  = 5 * time.Second
)

// The checks for information.
const (
	networkCheck = "net"
	tunnelCheck  = "tunnel"
	shieldCheck  = "shield"
)

var information = []string{networkCheck, tunnelCheck, shieldCheck}

// expected is what the config has that anymx-net reports on.
type expected struct{ tunnel, shield bool }

// inform asks anymx-net until ctx ends.
func (a *Announcer) inform(ctx context.Context, socket string) {
	client := control.NewNetworkClient(socket)
	defer client.Close()
	tick := time.NewTicker(networkInterval)
	defer tick.Stop()
	for {
		began := time.Now()
		asked, cancel := context.WithTimeout(ctx, networkTimeout)
		status, err := client.Status(asked)
		cancel()
		if ctx.Err() != nil {
			return
		}
		a.recordInformation(informationOf(status, err, a.expected(), began, time.Since(began)))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *Announcer) expected() expected {
	c := a.reloader.Config()
	return expected{tunnel: c.Tunnel != nil, shield: c.Shield != nil}
}

// informationOf makes checks of anymx-net's status. Tunnel and shield are included if the config
// has them.
func informationOf(s api.NetworkStatus, err error, want expected, at time.Time, took time.Duration) []api.HealthCheck {
	network := api.HealthCheck{Name: networkCheck, Information: true, Reason: s.Problem, At: at, Took: api.Seconds(took)}
	if err != nil {
		network.Reason = err.Error()
	}
	network.OK = network.Reason == ""
	checks := []api.HealthCheck{network}
	for _, part := range []struct {
		name string
		want bool
		how  func(api.NetworkStatus) (bool, string)
	}{{tunnelCheck, want.tunnel, tunnelHealth}, {shieldCheck, want.shield, shieldHealth}} {
		if !part.want {
			continue
		}
		check := network
		check.Name = part.name
		if err == nil {
			check.OK, check.Reason = part.how(s)
		}
		checks = append(checks, check)
	}
	return checks
}

func tunnelHealth(s api.NetworkStatus) (ok bool, reason string) {
	switch {
	case s.Tunnel == nil:
		return false, "anymx-net has no tunnel yet"
	case !s.Tunnel.Up && s.Tunnel.Problem == "":
		return false, "no handshake within three minutes"
	}
	return s.Tunnel.Up, s.Tunnel.Problem
}

func shieldHealth(s api.NetworkStatus) (ok bool, reason string) {
	if s.Shield == nil {
		return false, "anymx-net has no shield yet"
	}
	return s.Shield.Problem == "", s.Shield.Problem
}

// recordInformation records checks for information, and logs those that have changed.
func (a *Announcer) recordInformation(checks []api.HealthCheck) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range checks {
		if was, made := a.results[c.Name]; !made && !c.OK || made && was.OK != c.OK {
			a.log.Info("informational check changed", "check", c.Name, "ok", c.OK, "reason", c.Reason)
		}
		a.results[c.Name] = c
	}
	for _, name := range information { // what a reload removed
		if !slices.ContainsFunc(checks, func(c api.HealthCheck) bool { return c.Name == name }) {
			delete(a.results, name)
		}
	}
}
