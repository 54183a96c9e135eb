package control

import (
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

// stepView is a step of a drain.
type stepView struct {
	Name, Text      string
	UnderWay, Wrong bool
}

// routesView is what the speaker said.
type routesView struct {
	Silence []words.Line // why it says nothing, or nothing new
	Known   bool         // it has said something, which follows
	Told    string       // announced, graceful, withdrawn
	Wrong   bool         // not what the phase is for
	Text    string       // since when and why
	Lines   []words.Line
	Peers   []peerView
	Health  []words.Line // if it is not up, or a check fails
}

// peerView is a router.
type peerView struct {
	Address, AS, State, Trouble string
	Well                        bool
}

func newRoutesView(s *api.Status, now time.Time) *routesView {
	n := s.Speaker
	if n == nil {
		return nil
	}
	v := &routesView{Silence: words.Silence(n, "the BGP speaker"), Known: n.Status != nil}
	if !v.Known {
		return v
	}
	said := n.Status
	v.Told, v.Wrong, v.Text, v.Lines = string(said.Routes), words.RoutesWrong(s), words.RoutesForText(said, now), words.RoutesDetail(s)
	for i := range said.Peers {
		p := &said.Peers[i]
		v.Peers = append(v.Peers, peerView{p.Address.String(), words.PeerASN(p), words.PeerStateText(p, now), words.PeerTrouble(p, now), words.PeerConfirmed(p)})
	}
	if health := words.SpeakerHealthText(&said.Health, now); health[0].Wrong || len(health) > 1 {
		health[0].Text = "health: " + health[0].Text
		v.Health = health
	}
	return v
}

// networkView is what anymx-net said.
type networkView struct {
	Silence []words.Line
	Known   bool
	Lines   []words.Line
	Tunnel  *tunnelView // nil: none is configured
	Shield  *shieldView // nil: none is configured
}

// tunnelView is the tunnel to core.
type tunnelView struct {
	Up    bool
	Lines []words.Line
	Peers []farSideView
}

// shieldView is the packet filter.
type shieldView struct {
	Open  string // what passes unseen; "": nothing
	Lines []words.Line
}

// farSideView is a peer of the tunnel.
type farSideView struct {
	Key, Endpoint, Handshake, Received, Sent string
	Up                                       bool
}

func newNetworkView(s *api.Status, now time.Time) *networkView {
	n := s.Network
	if n == nil {
		return nil
	}
	v := &networkView{Silence: words.Silence(n, "anymx-net"), Known: n.Status != nil}
	if !v.Known {
		return v
	}
	v.Lines = words.NetworkText(n.Status)
	if s := n.Status.Shield; s != nil {
		v.Shield = &shieldView{words.ShieldOpening(s), words.ShieldText(s)}
	}
	t := n.Status.Tunnel
	if t == nil {
		return v
	}
	v.Tunnel = &tunnelView{Up: t.Up, Lines: words.TunnelSelfText(t)}
	for i := range t.Peers {
		p := &t.Peers[i]
		v.Tunnel.Peers = append(v.Tunnel.Peers, farSideView{
			words.TunnelPeerKey(p), words.TunnelPeerEndpoint(p), words.TunnelPeerHandshake(p, now), words.Size(p.Received), words.Size(p.Sent), p.Up,
		})
	}
	return v
}
