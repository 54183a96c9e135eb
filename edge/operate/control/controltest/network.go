package controltest

import (
	"time"

	"anymx/edge/operate/api"
)

// OnNetwork gives n a speaker and a tunnel.
func OnNetwork(n *Node) {
	speaker, network := SpeakerStatus(), NetworkStatus()
	n.State.Speaker = &api.Neighbour[api.SpeakerStatus]{Asked: Now, Status: &speaker}
	n.State.Network = &api.Neighbour[api.NetworkStatus]{Asked: Now, Status: &network}
}

// NetworkTroubled gives n a network where everything is wrong, with hostile text from its peers.
func NetworkTroubled(n *Node) {
	OnNetwork(n)
	s := n.State.Speaker.Status
	s.Routes, s.Reason, s.Since = api.Withdrawn, "by command: look at it", ago(4*time.Second)
	s.Desired = api.DesiredState{Routes: api.Withdrawn, Keep: true, Reason: "look at it"}
	s.Config.Restart = []string{"bgp.asn"}
	s.Peers[0].Confirmed = false
	s.Peers[0].LastNotification, s.Peers[0].LastNotificationAt = "received Cease, Administrative Reset: \x1b[2Jbye", ago(76*time.Hour)
	s.Peers[1].State, s.Peers[1].Confirmed = "Active", false
	s.Peers[1].LastError, s.Peers[1].LastErrorAt = "dial: connection refused \x1b]0;owned\x07", ago(9*time.Second)
	s.Health.Up, s.Health.Since, s.Health.Reason = false, ago(4*time.Second), "readyz: 503"
	s.Health.Checks[0].OK, s.Health.Checks[0].Reason = false, "503 not ready: spool: disk reserve"
	s.Health.Checks[2].OK, s.Health.Checks[2].Reason = false, "no handshake"

	w := n.State.Network.Status
	w.Problem = "netlink: permission denied"
	w.Items[0].Present, w.Items[0].Problem = false, "cannot assign"
	w.Items[2].Problem = "another rule has its priority"
	t := w.Tunnel
	t.Up, t.Implementation, t.Reason, t.Problem = false, "userspace", "the kernel has no WireGuard", "listen port 51820 is taken"
	t.Peers[0].Up, t.Peers[0].LastHandshake = false, time.Time{}
	t.Peers = append(t.Peers, api.TunnelPeer{PublicKey: "x\x1b[2J", LastHandshake: ago(3 * time.Hour)})

	n.State.Core[0].Probe = &api.ProbeStatus{At: ago(12 * time.Second), Size: 16 << 10, Took: api.Seconds(5 * time.Second), Problem: "no answer after 1,388 bytes: the MTU of the tunnel may be too large"}
}

// Steps returns the steps of a drain with these lengths; the last one is under way.
func Steps(lengths ...time.Duration) []api.StepStatus {
	names := []api.DrainStep{api.StepGraceful, api.StepWithdraw, api.StepConverge, api.StepSessions, api.StepFlush}
	limits := []time.Duration{10 * time.Second, 5 * time.Second, 5 * time.Second, time.Minute, 5 * time.Minute}
	var total time.Duration
	for _, l := range lengths {
		total += l
	}
	at := ago(total)
	var list []api.StepStatus
	for i, l := range lengths {
		list = append(list, api.StepStatus{Step: names[i], Began: at, Ended: at.Add(l), Limit: api.Seconds(limits[i])})
		at = at.Add(l)
	}
	list[len(list)-1].Ended = time.Time{}
	return list
}

// Draining makes n drain: it is in the third step, and a router did not acknowledge.
func Draining(n *Node) {
	OnNetwork(n)
	list := Steps(10*time.Second, 5*time.Second, 3*time.Second)
	list[1].Note = "198.51.100.1 did not acknowledge"
	n.State.Phase, n.State.Since = api.Draining, list[0].Began
	n.State.Drain = &api.DrainStatus{
		Reason: "kernel update", Began: list[0].Began, Steps: list, Sessions: 12, Messages: 5, Held: 1, Confirmed: 1, Peers: 2,
	}
	s := n.State.Speaker.Status
	s.Routes, s.Reason, s.Since = api.Withdrawn, "by command", ago(8*time.Second)
	s.Desired = api.DesiredState{Routes: api.Withdrawn, Reason: "kernel update", Keep: true}
	s.Peers[0].Confirmed = false
}
