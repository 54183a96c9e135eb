package anycast

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/apiutil"
	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"anymx/tests/kit/gobgp"
)

const (
	nodeASN   = 4200000100
	routerASN = 64500
)

// router is a real BGP router at the far side: GoBGP's server on a loopback
// address. It waits to be dialled.
type router struct {
	*gobgp.Server
	t       testing.TB
	address netip.Addr

	mu      sync.Mutex
	table   map[string]string // by prefix: its communities
	changed chan struct{}     // closed with the next change of table
	past    []moment          // what the table was, and when
}

// moment is a table as it was since a time: each prefix with its communities.
type moment struct {
	at    time.Time
	table []string
}

// newRouter starts a router that expects the node at 127.0.0.1.
func newRouter(t testing.TB, address string) *router {
	t.Helper()
	r := &router{Server: gobgp.NewServer(), t: t, address: netip.MustParseAddr(address), table: map[string]string{}, changed: make(chan struct{})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		r.Serve()
	}()
	ctx, cancel := context.WithCancel(context.Background())
	var looking sync.WaitGroup
	_, benchmark := t.(*testing.B)
	t.Cleanup(func() {
		if !benchmark {
			cancel()
			looking.Wait()
		}
		_ = r.StopBgp(context.Background(), &api.StopBgpRequest{})
		r.EndAfterNext()
		if cancel(); !benchmark { // the end of a watch is an operation
			_ = r.ListPeer(context.Background(), &api.ListPeerRequest{}, func(*api.Peer) {})
		}
		<-served
	})
	err := r.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
		Asn: routerASN, RouterId: address, ListenPort: 179, ListenAddresses: []string{address},
	}})
	if err != nil {
		t.Fatal(err)
	}
	err = r.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: "127.0.0.1", PeerAsn: nodeASN},
		Transport: &api.Transport{PassiveMode: true, LocalAddress: address},
		Timers:    &api.Timers{Config: &api.TimersConfig{HoldTime: 9, KeepaliveInterval: 3}},
		AfiSafis:  []*api.AfiSafi{family(packet.AFI_IP), family(packet.AFI_IP6)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if !benchmark {
		looking.Go(func() { r.look(ctx) })
		return r
	}
	// A watch tells to the microsecond, but reads what the server writes when a
	// session comes up: the race detector would find that.
	best := &api.WatchEventRequest_Table{Filters: []*api.WatchEventRequest_Table_Filter{{Type: api.WatchEventRequest_Table_Filter_BEST}}}
	if err := r.WatchEvent(ctx, &api.WatchEventRequest{Table: best}, r.observe); err != nil {
		t.Fatal(err)
	}
	return r
}

func family(afi uint16) *api.AfiSafi {
	return &api.AfiSafi{Config: &api.AfiSafiConfig{Enabled: true, Family: apiutil.ToApiFamily(afi, packet.SAFI_UNICAST)}}
}

// look looks at the table, again and again, until ctx ends.
func (r *router) look(ctx context.Context) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		table := map[string]string{}
		for _, afi := range []uint16{packet.AFI_IP, packet.AFI_IP6} {
			request := &api.ListPathRequest{TableType: api.TableType_GLOBAL, Family: apiutil.ToApiFamily(afi, packet.SAFI_UNICAST)}
			err := r.ListPath(ctx, request, func(d *api.Destination) {
				for _, p := range d.Paths {
					table[d.Prefix] = r.communities(p)
				}
			})
			if err != nil {
				r.t.Error(err)
			}
		}
		r.mu.Lock()
		if ctx.Err() == nil && !maps.Equal(table, r.table) {
			r.table = table
			r.record(time.Now())
		}
		r.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// observe is told of each change of the table.
func (r *router) observe(event *api.WatchEventResponse) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range event.GetTable().GetPaths() {
		nlri, err := apiutil.GetNativeNlri(p)
		if err != nil {
			r.t.Error(err)
			continue
		}
		if p.IsWithdraw {
			delete(r.table, nlri.String())
		} else {
			r.table[nlri.String()] = r.communities(p)
		}
	}
	r.record(now)
}

// record notes that the table has changed. The caller holds mu.
func (r *router) record(at time.Time) {
	have := []string{}
	for prefix, communities := range r.table {
		have = append(have, strings.TrimSpace(prefix+" "+communities))
	}
	slices.Sort(have)
	r.past = append(r.past, moment{at, have})
	close(r.changed)
	r.changed = make(chan struct{})
}

// communities are those of a path.
func (r *router) communities(p *api.Path) string {
	attributes, err := apiutil.GetNativePathAttributes(p)
	if err != nil {
		r.t.Error(err)
	}
	var list []string
	for _, a := range attributes {
		if c, ok := a.(*packet.PathAttributeCommunities); ok {
			for _, value := range c.Value {
				list = append(list, fmt.Sprintf("%d:%d", value>>16, value&0xffff))
			}
		}
	}
	return strings.Join(list, " ")
}

// await waits until the table has what is wanted, each prefix with its
// communities, and says when it came to that.
func (r *router) await(limit time.Duration, want ...string) time.Time {
	r.t.Helper()
	slices.Sort(want)
	timeout := time.After(limit)
	for {
		r.mu.Lock()
		last, changed := moment{}, r.changed
		if len(r.past) > 0 {
			last = r.past[len(r.past)-1]
		}
		r.mu.Unlock()
		if slices.Equal(last.table, want) {
			return last.at
		}
		select {
		case <-changed:
		case <-timeout:
			r.t.Fatalf("router %s has %q after %s, want %q", r.address, last.table, limit, want)
		}
	}
}

// since says when the table became, for the last time, what is wanted.
func (r *router) since(want ...string) time.Time {
	r.t.Helper()
	slices.Sort(want)
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range slices.Backward(r.past) {
		if slices.Equal(m.table, want) {
			return m.at
		}
	}
	r.t.Fatalf("router %s never had %q, but %v", r.address, want, r.past)
	return time.Time{}
}

// session is what the router says of its session with the node.
func (r *router) session() *api.PeerState {
	r.t.Helper()
	var state *api.PeerState
	if err := r.ListPeer(context.Background(), &api.ListPeerRequest{}, func(p *api.Peer) { state = p.State }); err != nil {
		r.t.Fatal(err)
	}
	return state
}
