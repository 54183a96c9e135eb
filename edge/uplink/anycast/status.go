package anycast

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"anymx/bgp"
	"anymx/edge/operate/api"
)

// Status returns the speaker's current state. It waits for no peer and no check.
func (a *Announcer) Status() api.SpeakerStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := a.reloader.Config()
	state := a.states.inForce()
	s := api.SpeakerStatus{
		Version: api.ThisVersion().Version, PID: os.Getpid(), Started: a.started,
		ASN: c.BGP.ASN, RouterID: c.BGP.RouterID,
		Desired: state.DesiredState, DesiredAt: state.at,
		Routes: a.report.routes, Reason: a.report.reason, Since: a.since, Prefixes: slices.Clone(c.Anycast.Prefixes),
		Health: api.SpeakerHealth{Up: a.health.up, Since: a.health.since, Reason: a.health.reason, Checks: a.checks()},
		Peers:  []api.SpeakerPeer{},
		Config: a.reloader.Status(),
		Clock:  a.clock.Status(),
	}
	for _, p := range a.speaker.Status().Peers {
		s.Peers = append(s.Peers, peerStatus(&p))
	}
	s.Peers = append(s.Peers, a.withheld...)
	slices.SortStableFunc(s.Peers, func(p, q api.SpeakerPeer) int { return p.Address.Compare(q.Address) })
	s.Degraded = a.degraded.List()
	return s
}

// checks returns the last results, those that decide before the others. The caller holds mu.
func (a *Announcer) checks() []api.HealthCheck {
	list := []api.HealthCheck{}
	for _, name := range a.names {
		result, made := a.results[name]
		if !made {
			result = api.HealthCheck{Name: name, Reason: "no result yet"}
		}
		list = append(list, result)
	}
	for _, name := range information {
		if result, made := a.results[name]; made {
			list = append(list, result)
		}
	}
	return list
}

func peerStatus(p *bgp.PeerStatus) api.SpeakerPeer {
	s := api.SpeakerPeer{
		Address: p.Address, ASN: p.ASN, State: p.State.String(), Since: p.Since, HoldTime: api.Seconds(p.HoldTime),
		Advertised: []api.AdvertisedRoute{}, Confirmed: p.Confirmed,
		LastErrorAt: p.LastErrorAt, LastNotificationAt: p.LastNotificationAt,
	}
	if p.LastError != nil {
		s.LastError = p.LastError.Error()
	}
	if p.LastNotification != nil {
		s.LastNotification = p.LastNotification.Error()
	}
	for _, path := range p.Sent {
		route := api.AdvertisedRoute{
			Prefix: path.Prefix, NextHop: path.NextHop, ASPath: path.ASPath, MED: path.MED, LocalPref: path.LocalPref,
		}
		for _, c := range path.Communities {
			route.Communities = append(route.Communities, c.String())
		}
		for _, c := range path.LargeCommunities {
			route.Communities = append(route.Communities, c.String())
		}
		s.Advertised = append(s.Advertised, route)
	}
	return s
}

// Ready returns nil while the node attracts traffic: its routes are announced, and a router has
// acknowledged them.
func (a *Announcer) Ready(context.Context) error {
	s := a.Status()
	confirmed, established := s.Confirmed()
	switch {
	case s.Routes != api.Announced:
		return fmt.Errorf("routes are %s: %s", s.Routes, s.Reason)
	case established == 0:
		return errors.New("no router is connected")
	case confirmed == 0:
		return errors.New("no router has acknowledged the routes")
	}
	return nil
}

// line formats the status for systemd. A line break in a reason would start another message to
// systemd.
func line(s *api.SpeakerStatus) string {
	_, established := s.Confirmed()
	text := fmt.Sprintf("%s (%s); %d of %d routers connected", s.Routes, s.Reason, established, len(s.Peers))
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
