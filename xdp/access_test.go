package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

func TestBlocksEnd(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: three, Cookies: Always})
	eachFamily(t, func(t *testing.T, service Service) {
		wide, _ := synTo(service).from.Prefix(20)
		narrow, _ := synTo(service).from.Prefix(28)
		verdict := func() Verdict {
			count := watch(t, s)
			run(t, s.shield, synTo(service).bytes())
			v, _ := count.next(t)
			return v
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		must(s.Block(wide, time.Time{}))
		must(s.Allow(narrow, time.Now().Add(time.Hour)))
		if got := verdict(); got != SYNAnswered {
			t.Errorf("allowed by the longer prefix: %s", got)
		}
		must(s.Block(narrow, time.Now().Add(200*time.Millisecond)))
		if got := verdict(); got != Blocked {
			t.Errorf("blocked: %s", got)
		}
		if _, err := s.Unlist(wide); err != nil {
			t.Fatal(err)
		}
		// The programs check the time: this needs no sweep.
		wait(t, "the end of a block", func() bool { return verdict() == SYNAnswered })
		s.mu.Lock()
		err := s.sweep(time.Now().Add(time.Second))
		s.mu.Unlock()
		must(err)
		if left := s.Lists(); len(left) != 0 {
			t.Errorf("after the sweep: %v", left)
		}
		must(s.Block(wide, time.Time{}))
		must(s.Block(wide, time.Now().Add(-time.Second))) // an expired block
		if got := verdict(); got != SYNAnswered {
			t.Errorf("after a block that is over: %s", got)
		}
		if known, err := s.Unlist(wide); known || err != nil {
			t.Errorf("unlisting what is not listed: %v, %v", known, err)
		}
	})
}

func TestListsHoldWhatTheyPromise(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: three, Cookies: Always})
	begin := time.Now()
	for i := range MaxListed {
		a := binary.BigEndian.AppendUint32(nil, 100<<24+uint32(i)*16)
		if err := s.Block(netip.PrefixFrom(netip.AddrFrom4([4]byte(a)), 28), time.Time{}); err != nil {
			t.Fatal(i, err)
		}
	}
	t.Logf("%d prefixes in %s", MaxListed, time.Since(begin))
	if err := s.Block(netip.MustParsePrefix("203.0.113.0/24"), time.Time{}); !errors.Is(err, ErrListFull) {
		t.Errorf("one too many: %v", err)
	}
	if err := s.Allow(netip.MustParsePrefix("100.0.0.0/28"), time.Time{}); err != nil {
		t.Errorf("another word on a prefix that is listed: %v", err)
	}
	if err := s.Block(netip.MustParsePrefix("2001:db8:9::/48"), time.Time{}); err != nil {
		t.Errorf("the other IP version: %v", err)
	}
	for from, want := range map[string]Verdict{"100.0.0.1": SYNAnswered, "100.0.0.17": Blocked, "100.24.105.240": Blocked, "100.24.106.0": SYNAnswered} {
		count := watch(t, s)
		run(t, s.shield, with(synTo(mail4), func(f *frame) { f.from = addr(from) }).bytes())
		if got, _ := count.next(t); got != want {
			t.Errorf("%s is %s, not %s", from, got, want)
		}
	}
	if n := status(t, s).Listed; n != MaxListed+1 {
		t.Errorf("%d are listed", n)
	}
}

func TestPrefixesThatCantBeListed(t *testing.T) {
	s := open(t, Options{})
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("::ffff:192.0.2.0/120")} {
		if err := s.Block(p, time.Time{}); err == nil {
			t.Errorf("%s was listed", p)
		}
	}
	// The host bits are cut off.
	if err := s.Block(netip.MustParsePrefix("192.0.2.77/24"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.Lists()[0].Prefix); got != "192.0.2.0/24" {
		t.Error(got)
	}
}

// If the kernel refuses a change, the previous entry still applies.
func TestRefusedChangeOfAListing(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: three})
	prefix := netip.MustParsePrefix("198.51.100.0/24")
	if err := s.Block(prefix, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := s.maps.Access4.Freeze(); err != nil {
		t.Fatal(err)
	}
	if err := s.Allow(prefix, time.Time{}); err == nil {
		t.Error("a frozen map was changed")
	}
	if err := s.Block(netip.MustParsePrefix("203.0.113.0/24"), time.Time{}); err == nil {
		t.Error("a frozen map was changed")
	}
	if got := s.Lists(); len(got) != 1 || got[0] != (Listed{Prefix: prefix}) || s.lengths != [2]int{1, 0} {
		t.Errorf("listed %v, %v", got, s.lengths)
	}
}
