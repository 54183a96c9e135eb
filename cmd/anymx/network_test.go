package main

import (
	"context"
	"net/netip"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
)

// Nodes on a network, for stories.

func ago(d time.Duration) time.Time { return controltest.Now.Add(-d) }

// neighboursSilent is a node whose speaker has died and whose anymx-net never ran.
func neighboursSilent(n *controltest.Node) {
	controltest.OnNetwork(n)
	n.State.Speaker.Problem = "no anymx-bgp answers on /run/anymx/bgp.sock"
	n.State.Network.Status, n.State.Network.Problem = nil, "no anymx-net answers on /run/anymx/net.sock"
}

// endDrain makes s drained, 15 seconds after the command.
func endDrain(s *api.Status) {
	list := controltest.Steps(10*time.Second, 12*time.Millisecond, 5*time.Second, 900*time.Millisecond, 30*time.Millisecond)
	list[4].Ended = controltest.Now
	began := list[0].Began
	s.Phase, s.Since = api.Drained, controltest.Now
	s.Drain = &api.DrainStatus{Reason: s.Drain.Reason, Until: s.Drain.Until, Began: began, Steps: list, Confirmed: 2, Peers: 2}
	if s.Speaker != nil {
		p := s.Speaker.Status
		p.Routes, p.Reason, p.Since = api.Withdrawn, "by command", began
		p.Desired = api.DesiredState{Routes: api.Withdrawn, Reason: "kernel update", Keep: true}
	}
}

// drains makes progress in a drain with each request for the status.
func drains(n *controltest.Node) {
	controltest.OnNetwork(n)
	n.Clear()
	walk := []func(*api.Status){
		func(s *api.Status) {
			s.Drain.Steps, s.Drain.Sessions, s.Drain.Messages, s.Drain.Peers = controltest.Steps(2*time.Second), 12, 3, 2
		},
		func(s *api.Status) { s.Drain.Steps, s.Drain.Confirmed = controltest.Steps(10*time.Second, 0), 1 },
		func(s *api.Status) { s.Drain.Steps, s.Drain.Confirmed = controltest.Steps(10*time.Second, 0), 2 },
		func(s *api.Status) { s.Drain.Steps = controltest.Steps(10*time.Second, 12*time.Millisecond, 0) },
		func(s *api.Status) {
			s.Drain.Steps = controltest.Steps(10*time.Second, 12*time.Millisecond, 5*time.Second, 900*time.Millisecond)
		},
		endDrain,
	}
	n.OnStatus = func(s *api.Status) {
		if s.Phase == api.Draining && len(walk) > 0 {
			walk[0](s)
			walk = walk[1:]
		}
	}
}

// local is a node without a speaker, whose drain has only the last steps.
func local(n *controltest.Node) {
	n.Clear()
	n.OnDrain = func(s *api.Status) {
		endDrain(s)
		s.Drain.Steps, s.Drain.Began, s.Drain.Peers, s.Drain.Confirmed = s.Drain.Steps[3:], ago(930*time.Millisecond), 0, 0
	}
}

func localDrained(n *controltest.Node) {
	local(n)
	n.State.Drain = &api.DrainStatus{}
	n.OnDrain(&n.State)
}

func drained(n *controltest.Node) {
	controltest.OnNetwork(n)
	n.Clear()
	n.State.Drain = &api.DrainStatus{Reason: "kernel update"}
	endDrain(&n.State)
	n.State.Since = ago(time.Hour)
	n.State.Drain.Began = n.State.Since.Add(-16 * time.Second)
}

// drainedUntilRestart is a node that returns to service with the next start of anymx-edge.
func drainedUntilRestart(n *controltest.Node) {
	drained(n)
	n.State.Drain.Until = api.UntilRestart
}

// drainsHeld is a node whose drain leaves a held message.
func drainsHeld(n *controltest.Node) {
	controltest.OnNetwork(n)
	held, _ := n.Show(context.Background(), controltest.ID(3))
	n.Clear()
	n.Add(held)
	n.OnDrain = func(s *api.Status) {
		endDrain(s)
		s.Drain.Messages, s.Drain.Held = 1, 1
		s.Drain.Steps[1].Note = "198.51.100.1 did not acknowledge"
	}
}

func drainsManyHeld(n *controltest.Node) {
	drainsHeld(n)
	for i := range 30 {
		m := controltest.Message(100+i, time.Hour, 2000, "a@example.org", "b@example.net")
		m.State, m.NextAttempt = api.Held, time.Time{}
		n.Add(m)
	}
	one := n.OnDrain
	n.OnDrain = func(s *api.Status) { one(s); s.Drain.Messages, s.Drain.Held = 31, 31 }
}

// drainsWithRest is a node that can't hand over its messages.
func drainsWithRest(n *controltest.Node) {
	controltest.OnNetwork(n)
	n.State.Queue.Paused = []api.PauseStatus{{Cause: "no address of core answers", Until: controltest.Now.Add(9 * time.Second)}}
	n.OnDrain = func(s *api.Status) {
		endDrain(s)
		s.Drain.Messages, s.Drain.Held = 5, 1
		s.Drain.Steps[4].Note = "4 messages are left"
	}
}

// begins is a node whose drain begins and makes no progress.
func begins(n *controltest.Node) {
	controltest.OnNetwork(n)
	n.OnDrain = func(s *api.Status) { s.Drain.Sessions, s.Drain.Messages, s.Drain.Held, s.Drain.Peers = 1, 5, 1, 2 }
}

// undone is a node that is resumed while it drains.
func undone(n *controltest.Node) {
	begins(n)
	asked := 0
	n.OnStatus = func(s *api.Status) {
		if s.Drain != nil {
			asked++
		}
		if asked == 3 {
			s.Phase, s.Drain = api.Running, nil
		}
	}
}

// stops is a node that is about to stop.
func stops(n *controltest.Node) {
	n.State.Phase = api.Stopping
	n.DrainErr = &api.Error{Code: api.Unavailable, Text: "the node is stopping"}
}

// comesBack is a drained node that needs some time to become healthy.
func comesBack(n *controltest.Node) {
	drained(n)
	n.OnResume = func(s *api.Status) {
		p := s.Speaker.Status
		p.Desired, p.Reason = api.DesiredState{Routes: api.Announced, Keep: true}, "not healthy: 1 of 3 good rounds, 0s of 10s"
		p.Health.Up, p.Health.Since, p.Health.Reason = false, ago(5*time.Second), "1 of 3 good rounds, 0s of 10s"
	}
	asked := 0
	n.OnStatus = func(s *api.Status) {
		p := s.Speaker.Status
		if s.Phase == api.Running {
			asked++
		}
		switch asked {
		case 3:
			p.Health.Up, p.Health.Since = true, controltest.Now
		case 4:
			p.Routes, p.Reason, p.Since = api.Announced, "healthy", controltest.Now
			p.Peers[0].Confirmed, p.Peers[1].Confirmed = false, false
		case 5:
			p.Peers[1].Confirmed = true
		}
	}
}

// sick is a node that does not become healthy.
func sick(n *controltest.Node) {
	drained(n)
	n.OnResume = func(s *api.Status) {
		controltest.NetworkTroubled(n)
		s.Speaker.Status.Desired = api.DesiredState{Routes: api.Announced, Keep: true}
		s.Speaker.Status.Reason = "not healthy: readyz: 503"
	}
}

// confirms returns a speaker whose routers acknowledge, one after the other.
func confirms() *controltest.Speaker {
	s := &controltest.Speaker{State: controltest.SpeakerStatus()}
	asked := 0
	s.OnAsk = func(p *api.SpeakerStatus) {
		if p.Routes == api.Withdrawn {
			asked++
		}
		p.Peers[0].Confirmed, p.Peers[1].Confirmed = asked > 1, asked > 2
	}
	return s
}

// silentRouter returns a speaker with one router that never acknowledges, and one without a
// session.
func silentRouter() *controltest.Speaker {
	s := &controltest.Speaker{State: controltest.SpeakerStatus()}
	s.State.Peers[0].Confirmed = false
	s.State.Peers = append(s.State.Peers, api.SpeakerPeer{
		Address: netip.MustParseAddr("198.51.100.3"), ASN: 64501, State: "Connect", Since: ago(time.Minute), LastError: "no route to host",
	})
	return s
}

func refuses() *controltest.Speaker {
	return &controltest.Speaker{OrderErr: &api.Error{Code: api.Internal, Text: "order.json: read-only file system"}}
}

// withdrawn returns a speaker with a kept command, which considers the node down.
func withdrawn() *controltest.Speaker {
	s := &controltest.Speaker{State: controltest.SpeakerStatus()}
	p := &s.State
	p.Routes, p.Since, p.Reason = api.Withdrawn, ago(time.Hour), "by command"
	p.Desired = api.DesiredState{Routes: api.Withdrawn, Keep: true}
	p.Health.Up, p.Health.Since = false, ago(time.Hour)
	p.Health.Checks[0].OK, p.Health.Checks[0].Reason = false, "nothing answers on /run/anymx/edge.sock"
	return s
}

// shielded gives the node a network with a shield.
func shielded(shield *api.ShieldStatus) func(*controltest.Node) {
	return func(n *controltest.Node) {
		controltest.OnNetwork(n)
		n.State.Network.Status.Shield = shield
	}
}

// netWith returns an anymx-net with this shield, nil for none.
func netWith(shield *api.ShieldStatus) *controltest.Network {
	n := controltest.ShieldNetwork()
	n.State.Shield = shield
	return n
}

// noShield returns an anymx-net that refuses everything about a shield.
func noShield() *controltest.Network {
	return &controltest.Network{Broken: &api.Error{Code: api.NotFound, Text: "this node has no shield"}}
}

// roomFor returns an anymx-net with room for n entries.
func roomFor(n int) *controltest.Network {
	full := controltest.ShieldNetwork()
	full.Room = n
	return full
}

// listedTwice returns an anymx-net with a prefix that both a command and a file have listed.
func listedTwice() *controltest.Network {
	n := controltest.ShieldNetwork()
	again := n.Entries[4]
	again.Source, again.Reason = "command", "flood"
	n.Entries = append(n.Entries, again)
	return n
}
