package bgp

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"anymx/tests/kit"
	"anymx/tests/kit/gobgp"
)

// router is a real BGP router at the far side: GoBGP's server on a loopback
// address. It waits to be dialled.
//
// The server keeps settings in variables of its package and writes them when it
// starts, so a test makes all of its routers before the first session.
type router struct {
	*gobgp.Server
	t       testing.TB
	asn     uint32
	address netip.Addr
	port    uint16
}

func newRouter(t testing.TB, asn uint32, address string) *router {
	t.Helper()
	r := &router{Server: gobgp.NewServer(), t: t, asn: asn, address: netip.MustParseAddr(address)}
	go r.Serve()
	r.port = freePort(t, address)
	id := r.address
	if id.Is6() {
		id = netip.MustParseAddr("127.0.0.6")
	}
	err := r.StartBgp(t.Context(), &api.StartBgpRequest{Global: &api.Global{
		Asn: asn, RouterId: id.String(), ListenPort: int32(r.port), ListenAddresses: []string{address},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.StopBgp(context.Background(), &api.StopBgpRequest{})
		r.EndAfterNext()
		_ = r.ListPeer(context.Background(), &api.ListPeerRequest{}, func(*api.Peer) {})
	})
	return r
}

// freePort is a port that nothing has on the address. GoBGP takes no port 0.
func freePort(t testing.TB, address string) uint16 {
	t.Helper()
	free, err := kit.FreePort(netip.MustParseAddr(address))
	if err != nil {
		t.Fatal(err)
	}
	return free.Port()
}

// expect makes the router wait for a speaker at the address, with both
// families and a hold time of 9 seconds; change may change that.
func (r *router) expect(address string, asn uint32, change ...func(*api.Peer)) {
	r.t.Helper()
	p := &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: address, PeerAsn: asn},
		Transport: &api.Transport{PassiveMode: true, LocalAddress: r.address.String()},
		Timers:    &api.Timers{Config: &api.TimersConfig{HoldTime: 9, KeepaliveInterval: 3}},
		AfiSafis: []*api.AfiSafi{
			{Config: &api.AfiSafiConfig{Enabled: true, Family: apiutil.ToApiFamily(uint16(IPv4), unicast)}},
			{Config: &api.AfiSafiConfig{Enabled: true, Family: apiutil.ToApiFamily(uint16(IPv6), unicast)}},
		},
	}
	for _, c := range change {
		c(p)
	}
	if err := r.AddPeer(r.t.Context(), &api.AddPeerRequest{Peer: p}); err != nil {
		r.t.Fatal(err)
	}
}

// peer is how a speaker at 127.0.0.1, or ::1, should see this router: it dials
// again fast.
func (r *router) peer() Peer {
	p := Peer{
		Address:      r.address,
		Port:         r.port,
		ASN:          r.asn,
		LocalAddress: netip.MustParseAddr("127.0.0.1"),
		Families:     []Family{IPv4, IPv6},
		ConnectRetry: 100 * time.Millisecond,
		Export:       Export{NextHop6: netip.MustParseAddr("2001:db8::1")},
	}
	if r.address.Is6() {
		p.LocalAddress = netip.IPv6Loopback()
		p.Export = Export{NextHop4: netip.MustParseAddr("192.0.2.1")}
	}
	return p
}

// table is all that the router has learned.
func (r *router) table() []Path {
	r.t.Helper()
	t := table{}
	for _, f := range []Family{IPv4, IPv6} {
		request := &api.ListPathRequest{TableType: api.TableType_GLOBAL, Family: apiutil.ToApiFamily(uint16(f), unicast)}
		err := r.ListPath(r.t.Context(), request, func(d *api.Destination) {
			for _, p := range d.Paths {
				attributes, err := apiutil.GetNativePathAttributes(p)
				if err != nil {
					r.t.Error(err)
				}
				path := pathOf(attributes)
				path.Prefix = netip.MustParsePrefix(d.Prefix)
				t[path.Prefix] = path
			}
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return t.sorted()
}

// pathOf is the path that attributes of GoBGP's packet library describe.
func pathOf(attributes []packet.PathAttributeInterface) Path {
	var p Path
	for _, a := range attributes {
		switch a := a.(type) {
		case *packet.PathAttributeAsPath:
			for _, segment := range a.Value {
				p.ASPath = append(p.ASPath, segment.GetAS()...)
			}
		case *packet.PathAttributeNextHop:
			p.NextHop, _ = netip.AddrFromSlice(a.Value.To4())
		case *packet.PathAttributeMpReachNLRI:
			p.NextHop, _ = netip.AddrFromSlice(a.Nexthop.To16())
		case *packet.PathAttributeMultiExitDisc:
			p.MED = &a.Value
		case *packet.PathAttributeLocalPref:
			p.LocalPref = &a.Value
		case *packet.PathAttributeCommunities:
			for _, c := range a.Value {
				p.Communities = append(p.Communities, Community(c))
			}
		case *packet.PathAttributeLargeCommunities:
			for _, c := range a.Values {
				p.LargeCommunities = append(p.LargeCommunities, LargeCommunity{c.ASN, c.LocalData1, c.LocalData2})
			}
		}
	}
	return p
}

// session is what the router says of its session with the speaker.
func (r *router) session() *api.Peer {
	r.t.Helper()
	var peer *api.Peer
	if err := r.ListPeer(r.t.Context(), &api.ListPeerRequest{}, func(p *api.Peer) { peer = p }); err != nil {
		r.t.Fatal(err)
	}
	return peer
}

func (r *router) established() bool {
	return r.session().State.SessionState == api.PeerState_ESTABLISHED
}

// wantTable waits until the router has learned exactly these paths.
func (r *router) wantTable(want ...Path) {
	r.t.Helper()
	if want == nil {
		want = []Path{}
	}
	var got []Path
	if !kit.Within(kit.Patience, func() bool {
		got = r.table()
		return reflect.DeepEqual(normalPaths(got), normalPaths(want))
	}) {
		r.t.Fatalf("AS%d has %s\nwant %s", r.asn, describe(got), describe(want))
	}
}

// normalPaths makes empty lists nil, which DeepEqual tells apart.
func normalPaths(list []Path) []Path {
	list = slices.Clone(list)
	for i := range list {
		if len(list[i].ASPath) == 0 {
			list[i].ASPath = nil
		}
		if len(list[i].Communities) == 0 {
			list[i].Communities = nil
		}
		if len(list[i].LargeCommunities) == 0 {
			list[i].LargeCommunities = nil
		}
	}
	return list
}

// newSpeaker is a speaker that is closed when the test is over.
func newSpeaker(t testing.TB, asn uint32, log *slog.Logger) *Speaker {
	t.Helper()
	s, err := New(Options{ASN: asn, RouterID: netip.MustParseAddr("192.0.2.1"), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

func setPeers(t testing.TB, s *Speaker, peers ...Peer) {
	t.Helper()
	if err := s.SetPeers(t.Context(), peers); err != nil {
		t.Fatal(err)
	}
}

func setRoutes(t testing.TB, s *Speaker, routes ...Route) {
	t.Helper()
	if err := s.SetRoutes(t.Context(), routes); err != nil {
		t.Fatal(err)
	}
}

func flush(t testing.TB, s *Speaker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

// peerStatus is the status of the session with an address.
func peerStatus(t testing.TB, s *Speaker, address netip.Addr) PeerStatus {
	t.Helper()
	for _, p := range s.Status().Peers {
		if p.Address == address {
			return p
		}
	}
	t.Fatalf("no peer %s", address)
	return PeerStatus{}
}

func waitEstablished(t testing.TB, s *Speaker, addresses ...netip.Addr) {
	t.Helper()
	for _, a := range addresses {
		kit.Eventually(t, "a session with "+a.String(), func() bool { return peerStatus(t, s, a).State == Established })
	}
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// describe prints paths with what their pointers point to.
func describe(list []Path) string {
	text := ""
	for _, p := range list {
		text += "\n\t" + p.Prefix.String() + " via " + p.NextHop.String() + " " + slogText(map[string]any{
			"as": p.ASPath, "med": p.MED, "pref": p.LocalPref, "communities": p.Communities, "large": p.LargeCommunities,
		})
	}
	return text
}

func slogText(fields map[string]any) string {
	text := ""
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value := reflect.Indirect(reflect.ValueOf(fields[key]))
		if value.IsValid() {
			text += key + "=" + slog.AnyValue(value.Interface()).String() + " "
		}
	}
	return text
}

// newLoopback6 says whether there is an IPv6 loopback.
func newLoopback6() (net.Listener, error) { return net.Listen("tcp", "[::1]:0") }
