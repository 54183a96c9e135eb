package anycast

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"anymx/bgp"
	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/service"
)

// maxPassword is how long a TCP MD5 password may be, in bytes.
const maxPassword = 80

// reader reads a secret of at most the given number of bytes, as secret.Read does. Along with its
// error it may return what it read before.
type reader func(name string, most int) ([]byte, error)

// remembering adds a memory to read: a password file that breaks does not affect a session
// established with its password.
func remembering(read reader) reader {
	var last service.Last[[]byte]
	return func(name string, most int) ([]byte, error) {
		text, _, err := last.Read(name, func() ([]byte, error) { return read(name, most) })
		return text, err
	}
}

// peersOf returns the config's routers. It reads the passwords each time. The error names every
// router with a problem. One whose password can't be read is left out: it must not be dialled
// without it, and affects no other (service.AloneError, by its address); one whose password was
// read before is included.
func peersOf(c *config.Config, read reader) ([]bgp.Peer, error) {
	var peers []bgp.Peer
	var errs []error
	for i := range c.BGP.Peers {
		p, err := peerOf(&c.BGP.Peers[i], read)
		if err != nil {
			errs = append(errs, fmt.Errorf("router %s: %w", c.BGP.Peers[i].Address, err))
		}
		if p.Address.IsValid() {
			peers = append(peers, p)
		}
	}
	return peers, errors.Join(errs...)
}

// withheld returns the routers that are not dialled because their password is missing, for the
// status.
func withheld(c *config.Config, peers []bgp.Peer, problems map[string]error, now time.Time) []api.SpeakerPeer {
	var list []api.SpeakerPeer
	for i := range c.BGP.Peers {
		p := &c.BGP.Peers[i]
		problem := problems[p.Address.String()]
		if problem == nil || slices.ContainsFunc(peers, func(q bgp.Peer) bool { return q.Address == p.Address }) {
			continue
		}
		list = append(list, api.SpeakerPeer{
			Address: p.Address, ASN: p.ASN, State: bgp.Idle.String(), Advertised: []api.AdvertisedRoute{},
			LastError: problem.Error() + "; it is not dialled without it", LastErrorAt: now,
		})
	}
	return list
}

// withheldPeers returns those of this moment.
func (a *Announcer) withheldPeers() []api.SpeakerPeer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.withheld)
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
		peer.Password = bgp.Password(password)
		if err != nil {
			err = &service.AloneError{Name: p.Address.String(), Err: fmt.Errorf("password: %w", err)}
		}
		if err != nil && len(password) == 0 {
			return bgp.Peer{}, err
		}
		return peer, err
	}
	return peer, nil
}

// routesOf returns the routes that the speaker should announce. None, as for api.Withdrawn, withdraws
// what it announces.
func routesOf(prefixes []netip.Prefix, routes api.Routes) []bgp.Route {
	var list []bgp.Route
	for _, p := range prefixes {
		switch routes {
		case api.Announced:
			list = append(list, bgp.Route{Prefix: p})
		case api.Graceful:
			list = append(list, bgp.Route{Prefix: p, Communities: []bgp.Community{bgp.GracefulShutdown}})
		}
	}
	return list
}
