package anycast

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"anymx/bgp"
	"anymx/edge/config"
	"anymx/edge/control"
)

// maxPassword is how long a password of TCP MD5 may be, in octets.
const maxPassword = 80

// reader reads a secret of so many octets at most, as secret.Read does.
type reader func(name string, most int) ([]byte, error)

// peersOf are the config's routers. Its passwords are read anew each time. The
// error names every router with which something is wrong.
func peersOf(c *config.Config, read reader) ([]bgp.Peer, error) {
	var peers []bgp.Peer
	var errs []error
	for i := range c.BGP.Peers {
		p, err := peerOf(&c.BGP.Peers[i], read)
		if err != nil {
			errs = append(errs, fmt.Errorf("router %s: %w", c.BGP.Peers[i].Address, err))
		}
		peers = append(peers, p)
	}
	return peers, errors.Join(errs...)
}

func peerOf(p *config.BGPPeer, read reader) (bgp.Peer, error) {
	communities, large, err := bgp.ParseCommunities(p.Communities)
	if err != nil {
		return bgp.Peer{}, err
	}
	peer := bgp.Peer{
		Address: p.Address, Port: p.Port, ASN: p.ASN, LocalAddress: p.LocalAddress,
		Families: []bgp.Family{},
		HoldTime: time.Duration(p.HoldTime), ConnectRetry: time.Duration(p.ConnectRetry),
		TTLSecurity: p.TTLSecurity, Multihop: uint8(p.Multihop),
		Export: bgp.Export{
			NextHop4: p.NextHop4, NextHop6: p.NextHop6, MED: p.MED, Prepend: uint8(p.Prepend),
			Communities: communities, LargeCommunities: large,
		},
	}
	for _, name := range p.OfferedFamilies() {
		switch name {
		case config.FamilyIPv4:
			peer.Families = append(peer.Families, bgp.IPv4)
		case config.FamilyIPv6:
			peer.Families = append(peer.Families, bgp.IPv6)
		}
	}
	if p.PasswordFile != "" {
		password, err := read(p.PasswordFile, maxPassword)
		if err != nil {
			return bgp.Peer{}, fmt.Errorf("password: %w", err)
		}
		peer.Password = bgp.Password(password)
	}
	return peer, nil
}

// routesOf is what the speaker is to announce.
func routesOf(prefixes []netip.Prefix, routes control.Routes) []bgp.Route {
	var list []bgp.Route
	for _, p := range prefixes {
		switch routes {
		case control.Announced:
			list = append(list, bgp.Route{Prefix: p})
		case control.Graceful:
			list = append(list, bgp.Route{Prefix: p, Communities: []bgp.Community{bgp.GracefulShutdown}})
		}
	}
	return list
}
