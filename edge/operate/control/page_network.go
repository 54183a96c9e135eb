package control

import "time"

// stepView is a step of a drain.
type stepView struct {
	Name, Text      string
	UnderWay, Wrong bool
}

// routesView is what the speaker said.
type routesView struct {
	Silence []line // why it says nothing, or nothing new
	Known   bool   // it has said something, which follows
	Told    string // announced, graceful, withdrawn
	Wrong   bool   // not what the phase is for
	Text    string // since when and why
	Lines   []line
	Peers   []peerView
	Health  []line // if it is not up, or a check fails
}

// peerView is a router.
type peerView struct {
	Address, AS, State, Trouble string
	Well                        bool
}

func newRoutesView(s *Status, now time.Time) *routesView {
	n := s.Speaker
	if n == nil {
		return nil
	}
	v := &routesView{Silence: n.silence("the BGP speaker"), Known: n.Status != nil}
	if !v.Known {
		return v
	}
	said := n.Status
	v.Told, v.Wrong, v.Text, v.Lines = string(said.Routes), s.routesWrong(), said.forText(now), s.routesDetail()
	for i := range said.Peers {
		p := &said.Peers[i]
		v.Peers = append(v.Peers, peerView{p.Address.String(), p.as(), p.stateText(now), p.trouble(now), p.well()})
	}
	if health := said.Health.text(now); health[0].Wrong || len(health) > 1 {
		health[0].Text = "health: " + health[0].Text
		v.Health = health
	}
	return v
}

// networkView is what anymx-net said.
type networkView struct {
	Silence []line
	Known   bool
	Lines   []line
	Tunnel  *tunnelView // nil: none is configured
	Shield  *shieldView // nil: none is configured
}

// tunnelView is the tunnel to core.
type tunnelView struct {
	Up    bool
	Lines []line
	Peers []farSideView
}

// shieldView is the packet filter.
type shieldView struct {
	Open  string // what passes unseen; "": nothing
	Lines []line
}

// farSideView is a peer of the tunnel.
type farSideView struct {
	Key, Endpoint, Handshake, Received, Sent string
	Up                                       bool
}

func newNetworkView(s *Status, now time.Time) *networkView {
	n := s.Network
	if n == nil {
		return nil
	}
	v := &networkView{Silence: n.silence("anymx-net"), Known: n.Status != nil}
	if !v.Known {
		return v
	}
	v.Lines = n.Status.text()
	if s := n.Status.Shield; s != nil {
		v.Shield = &shieldView{s.open(), s.text()}
	}
	t := n.Status.Tunnel
	if t == nil {
		return v
	}
	v.Tunnel = &tunnelView{Up: t.Up, Lines: t.selfText()}
	for i := range t.Peers {
		p := &t.Peers[i]
		v.Tunnel.Peers = append(v.Tunnel.Peers, farSideView{
			p.key(), p.endpoint(), p.handshake(now), size(p.Received), size(p.Sent), p.Up,
		})
	}
	return v
}
