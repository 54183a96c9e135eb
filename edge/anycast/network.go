package anycast

import (
	"context"
	"time"

	"anymx/edge/control"
)

// How often anymx-net is asked, and how long its answer may take. It decides
// nothing, so it may be late.
const (
	networkInterval = 10 * time.Second
	networkTimeout  = 5 * time.Second
)

// The checks for information.
const (
	networkCheck = "net"
	tunnelCheck  = "tunnel"
)

var information = []string{networkCheck, tunnelCheck}

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
		a.informed(informationOf(status, err, a.tunnelled(), began, time.Since(began)))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *Announcer) tunnelled() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.config.Tunnel != nil
}

// informationOf makes checks of what anymx-net says of itself. There is one of
// the tunnel where the config has one.
func informationOf(s control.NetworkStatus, err error, tunnelled bool, at time.Time, took time.Duration) []control.HealthCheck {
	network := control.HealthCheck{Name: networkCheck, Information: true, Reason: s.Problem, At: at, Took: took}
	if err != nil {
		network.Reason = err.Error()
	}
	network.OK = network.Reason == ""
	if !tunnelled {
		return []control.HealthCheck{network}
	}
	tunnel := network
	tunnel.Name = tunnelCheck
	switch {
	case err != nil:
	case s.Tunnel == nil:
		tunnel.OK, tunnel.Reason = false, "anymx-net has no tunnel yet"
	default:
		tunnel.OK, tunnel.Reason = s.Tunnel.Up, s.Tunnel.Problem
		if !tunnel.OK && tunnel.Reason == "" {
			tunnel.Reason = "no handshake within three minutes"
		}
	}
	return []control.HealthCheck{network, tunnel}
}

// informed takes checks for information, and logs those that have changed.
func (a *Announcer) informed(checks []control.HealthCheck) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range checks {
		if was, made := a.results[c.Name]; !made && !c.OK || made && was.OK != c.OK {
			a.log.Info("for information", "check", c.Name, "ok", c.OK, "reason", c.Reason)
		}
		a.results[c.Name] = c
	}
	if len(checks) == 1 {
		delete(a.results, tunnelCheck)
	}
}
