package bgp

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"

	"anymx/tests/kit"
)

func TestCloseWaitsForNoPeer(t *testing.T) {
	s := newSpeaker(t, ourASN, nil)
	r := newRaw(t, "127.0.0.3")
	r.smallBuffer()
	p := r.peer()
	p.HoldTime = 90 * time.Second
	setPeers(t, s, p)
	r.establish(rawOpen(90, modern...))
	stuff(t, s, p.Address)
	start := time.Now()
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > p.HoldTime/2 {
		t.Errorf("Close took %s", took)
	}
}

// stuff announces until a peer that reads nothing is behind.
func stuff(t *testing.T, s *Speaker, address netip.Addr) {
	t.Helper()
	many := make([]Route, 5_000)
	for i := range many {
		many[i].Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
	}
	for i := range 200 {
		community := []Community{Community(i)}
		for j := range many {
			many[j].Communities = community
		}
		setRoutes(t, s, many...)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := s.Flush(ctx)
		cancel()
		if err != nil && strings.Contains(err.Error(), address.String()) {
			return
		}
	}
	t.Fatal("the peer took everything")
}

// However the end of a session falls between what it is doing, the peer is told.
func TestCloseAlwaysTellsThePeer(t *testing.T) {
	for i := range 100 {
		s := newSpeaker(t, ourASN, nil)
		r := newRaw(t, "127.0.0.3")
		setRoutes(t, s, ours()...)
		setPeers(t, s, r.peer())
		c := r.establish(rawOpen(9, modern...))
		if i%2 == 0 {
			c.updates(3)
		}
		closed := make(chan error, 1)
		go func() { closed <- s.Close(t.Context()) }()
		if n := c.end(); n == nil || n.Code != packet.BGP_ERROR_CEASE || n.Subcode != ceaseShutdown {
			t.Fatalf("round %d ended with %v", i, n)
		}
		c.Close()
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseInEveryState(t *testing.T) {
	for _, state := range []State{Idle, Connect, OpenSent, OpenConfirm} {
		t.Run(state.String(), func(t *testing.T) {
			s := newSpeaker(t, ourASN, nil)
			r := newRaw(t, "127.0.0.3")
			p := r.peer()
			switch state {
			case Idle:
				r.l.Close()
				p.ConnectRetry = time.Hour
			case Connect:
				p.Password = "nobody else has it"
			}
			setPeers(t, s, p)
			if state >= OpenSent {
				c := r.accept()
				if state == OpenConfirm {
					c.send(message(packet.BGP_MSG_OPEN, rawOpen(9, modern...)))
				}
				defer func() {
					if n := c.end(); n == nil || n.Code != packet.BGP_ERROR_CEASE || n.Subcode != ceaseShutdown {
						t.Errorf("ended with %v", n)
					}
				}()
			}
			kit.Eventually(t, "the state", func() bool {
				st := peerStatus(t, s, p.Address)
				if state == Connect && st.LastError != nil && strings.Contains(st.LastError.Error(), "TCP MD5") {
					t.Skip("the kernel has no TCP MD5:", st.LastError)
				}
				return st.State == state && st.Counters.Dials == 1
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
			defer cancel()
			<-ctx.Done()
			if err := s.Close(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Close without time: %v", err)
			}
			start := time.Now()
			if err := s.Close(t.Context()); err != nil || time.Since(start) > handshakeTime/2 {
				t.Errorf("Close: %v after %s", err, time.Since(start))
			}
		})
	}
}
