package bgp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrClosed is returned for changes to a Speaker that was closed.
var ErrClosed = errors.New("the BGP speaker is closed")

// flushInterval is how often Flush looks: the kernel does not tell when a peer
// has acknowledged something.
const flushInterval = time.Millisecond

// Options are what a Speaker is for its whole life.
type Options struct {
	// ASN is the speaker's autonomous system. No default.
	ASN uint32
	// RouterID is an IPv4 address that no other router of the network has. No
	// default.
	RouterID netip.Addr
	// Logger gets a line for each session that comes up or goes, with the peer
	// and the reason; at debug level, for each update. Nil: nothing is logged.
	Logger *slog.Logger
}

// Speaker announces routes to peers. It begins with none of both. All methods
// may be called from any goroutine.
type Speaker struct {
	asn      uint32
	routerID netip.Addr
	log      *slog.Logger
	signal   chan struct{}

	mu       sync.Mutex
	closed   bool
	peers    []Peer // as SetPeers took them
	routes   []Route
	sessions map[netip.Addr]*session
	leaving  map[netip.Addr]*session // stopped, perhaps not over yet
}

// New makes a Speaker. It must be closed.
func New(o Options) (*Speaker, error) {
	if err := checkASN(o.ASN); err != nil {
		return nil, err
	}
	if id := o.RouterID; !id.Is4() || id.IsUnspecified() {
		return nil, fmt.Errorf("%s cannot be a router id", id)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Speaker{
		asn:      o.ASN,
		routerID: o.RouterID,
		log:      o.Logger,
		signal:   make(chan struct{}, 1),
		sessions: map[netip.Addr]*session{},
		leaving:  map[netip.Addr]*session{},
	}, nil
}

// SetPeers makes these the peers: empty, like nil, means none. Sessions of
// peers that are gone, or that need a new session, end with a NOTIFICATION;
// sessions of which only the Export changed send updates; all others are left
// alone. A list with anything wrong is refused as a whole, and the error names
// all of it.
//
// The change is made at once; with a ctx that is done already nothing changes.
// SetPeers then waits until the sessions that it ends are over, which takes a
// few seconds at most where a peer does not answer. If ctx is done before, they
// end by themselves, and the error says whose did not yet.
func (s *Speaker) SetPeers(ctx context.Context, peers []Peer) error {
	list, err := normalPeers(s.asn, peers)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	plan := planPeers(s.peers, list)
	s.peers = list
	var ended []*session
	for _, address := range plan.remove {
		ended = append(ended, s.end(address, ceaseDeconfigured))
	}
	for _, p := range plan.reset {
		ended = append(ended, s.end(p.Address, ceaseChanged))
		s.begin(p)
	}
	for _, p := range plan.add {
		s.begin(p)
	}
	for _, p := range plan.update {
		s.sessions[p.Address].setExport(p.Export)
	}
	s.mu.Unlock()
	s.changed()
	return await(ctx, ended)
}

// SetRoutes makes these the routes announced to all peers: empty, like nil,
// withdraws all. Routes that stay the same are not sent again; those that
// differ replace what was sent, without being withdrawn. A list with anything
// wrong is refused as a whole, and the error names all of it.
//
// The change is made at once; with a ctx that is done already nothing changes.
// SetRoutes waits for no peer: Flush does.
func (s *Speaker) SetRoutes(ctx context.Context, routes []Route) error {
	list, err := normalRoutes(routes)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.routes = list
	for _, session := range s.sessions {
		session.setRoutes(list)
	}
	s.mu.Unlock()
	s.changed()
	return nil
}

// Flush waits until every peer whose session is Established has been sent all
// that was asked for before, and its TCP has acknowledged that: from then on it
// is the router that does or does not act on it. If ctx is done before, the
// error names the peers that are behind.
func (s *Speaker) Flush(ctx context.Context) error {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		behind := s.behind()
		if len(behind) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not confirmed by %s: %w", strings.Join(behind, ", "), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func (s *Speaker) behind() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var behind []string
	for _, p := range s.peers {
		if session, up := s.sessions[p.Address]; up && session.behind() {
			behind = append(behind, p.Address.String())
		}
	}
	return behind
}

// Status is what the speaker does at this moment. It never waits for a peer.
func (s *Speaker) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	status := Status{ASN: s.asn, RouterID: s.routerID}
	for _, r := range s.routes {
		r.Communities, r.LargeCommunities = slices.Clone(r.Communities), slices.Clone(r.LargeCommunities)
		status.Routes = append(status.Routes, r)
	}
	for _, p := range s.peers {
		status.Peers = append(status.Peers, s.sessions[p.Address].status(now))
	}
	return status
}

// Changed has one slot, which is filled when the Status has changed: after
// receiving, look at Status. It is never closed, and only one receiver gets a
// signal.
func (s *Speaker) Changed() <-chan struct{} { return s.signal }

func (s *Speaker) changed() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// Close ends all sessions with a NOTIFICATION, upon which routers drop the
// routes, and waits until they are over: a few seconds at most where a peer does
// not answer. If ctx is done before, they end by themselves, and the error says
// whose did not yet. Afterwards no goroutine is left. To close once more waits
// once more.
func (s *Speaker) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for _, session := range s.sessions {
		session.stop(cease(ceaseShutdown))
	}
	var ended []*session
	for _, p := range s.peers {
		ended = append(ended, s.sessions[p.Address])
	}
	for _, session := range s.leaving {
		ended = append(ended, session)
	}
	s.mu.Unlock()
	return await(ctx, ended)
}

// begin gives a peer a session. The caller holds mu.
func (s *Speaker) begin(p Peer) {
	ctx, stop := context.WithCancelCause(context.Background())
	session := &session{
		asn:      s.asn,
		routerID: s.routerID,
		log:      s.log.With("peer", p.Address, "peer_asn", p.ASN),
		changed:  s.changed,
		stop:     stop,
		done:     make(chan struct{}),
		poke:     make(chan struct{}, 1),
		peer:     p,
		export:   p.Export,
		routes:   s.routes,
		since:    time.Now(),
	}
	var predecessor <-chan struct{}
	if old, ok := s.leaving[p.Address]; ok {
		predecessor = old.done
	}
	s.sessions[p.Address] = session
	go session.run(ctx, predecessor)
}

// end stops a peer's session. The caller holds mu.
func (s *Speaker) end(address netip.Addr, subcode uint8) *session {
	session := s.sessions[address]
	delete(s.sessions, address)
	session.stop(cease(subcode))
	for a, old := range s.leaving {
		select {
		case <-old.done:
			delete(s.leaving, a)
		default:
		}
	}
	s.leaving[address] = session
	return session
}

// await waits until sessions that were stopped are over.
func await(ctx context.Context, ended []*session) error {
	var open []string
	for _, session := range ended {
		select {
		case <-session.done:
			continue
		default:
		}
		select {
		case <-session.done:
		case <-ctx.Done():
			open = append(open, session.peer.Address.String())
		}
	}
	if len(open) > 0 {
		return fmt.Errorf("sessions not yet over with %s: %w", strings.Join(open, ", "), context.Cause(ctx))
	}
	return nil
}
