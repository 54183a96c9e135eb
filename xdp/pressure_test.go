package xdp

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// flood runs the same frame many times.
func flood(t *testing.T, s *Shield, f frame, times int) {
	t.Helper()
	if _, err := s.shield.Run(&ebpf.RunOptions{Data: f.bytes(), Repeat: uint32(times)}); err != nil {
		t.Fatal(err)
	}
}

func status(t *testing.T, s *Shield) Status {
	t.Helper()
	st, err := s.Status()
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestCookiesBeginAtTheThresholdAndEnd(t *testing.T) {
	settings := Settings{Services: three, SYNRate: 200, Hold: time.Second}
	s := configured(t, Options{}, settings)
	before := watch(t, s).last
	// 26 SYNs in a window are a rate of 200.
	for range 20 {
		run(t, s.shield, synTo(mail4).bytes())
	}
	if got := since(t, s, before); got[SYNPassed] != 20 || status(t, s).SYNs.On {
		t.Fatalf("below the threshold: %v", got)
	}
	for range 2000 {
		run(t, s.shield, synTo(mail4).bytes())
	}
	got := since(t, s, before)
	if got[SYNAnswered] < 1000 || got[SYNPassed] > 1000 { // each CPU adds its count in batches of 16
		t.Errorf("above the threshold: %v", got)
	}
	st := status(t, s).SYNs
	if !st.On || st.Left <= 0 || st.Left > settings.Hold || st.Peak <= st.Limit || st.Limit < 190 || st.Limit > 200 {
		t.Errorf("under pressure the status says %+v", st)
	}
	// When a flood ends, SYNs pass again.
	wait(t, "the end of the pressure", func() bool { return !status(t, s).SYNs.On })
	before = watch(t, s).last
	run(t, s.shield, synTo(mail6).bytes())
	if got := since(t, s, before); got[SYNPassed] != 1 {
		t.Errorf("after the flood: %v", got)
	}
}

// wait polls until a condition holds.
func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
	}
}

func TestStraysAreDroppedAboveTheThreshold(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: three, StrayRate: 1000, SYNRate: 1_000_000, Hold: time.Second})
	for name, flags := range map[string]byte{"ACK": ack, "RST": rst, "SYN-ACK": syn | ack} {
		f := with(synTo(mail4), func(f *frame) { f.flags = flags })
		before := watch(t, s).last
		flood(t, s, f, 3000)
		got := since(t, s, before)
		if got[Bogus] < 2000 || got[Stray]+got[Bogus] < 3000 {
			t.Errorf("%s: %v", name, got)
		}
	}
	st := status(t, s)
	if !st.Strays.On || st.SYNs.On {
		t.Errorf("the status says %+v", st)
	}
	before := watch(t, s).last
	run(t, s.shield, synTo(mail4).bytes())
	if got := since(t, s, before); got[SYNPassed] != 1 {
		t.Errorf("a SYN during an ACK flood: %v", got)
	}
}

func TestNeverLeavesAllToTheStack(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: three, Cookies: Never, SYNRate: 1, StrayRate: 1})
	before := watch(t, s).last
	flood(t, s, synTo(mail4), 1000)
	flood(t, s, with(synTo(mail4), func(f *frame) { f.flags = ack }), 1000)
	if got := since(t, s, before); got[SYNPassed] < 1000 || got[Stray] < 1000 || len(got) != 2 {
		t.Errorf("%v", got)
	}
	if st := status(t, s); st.SYNs.On || st.Strays.On {
		t.Errorf("%+v", st)
	}
}

func TestConnectionRateByVerifiedSource(t *testing.T) {
	settings := Settings{Services: three, Cookies: Always, ConnectionRate: 1, ConnectionBurst: 3}
	s := configured(t, Options{}, settings)
	eachFamily(t, func(t *testing.T, service Service) {
		// SYNs alone validate nothing, however many there are.
		before := watch(t, s).last
		for range 50 {
			run(t, s.shield, synTo(service).bytes())
		}
		if got := since(t, s, before); got[SYNAnswered] != 50 {
			t.Fatalf("SYNs: %v", got)
		}
		before = watch(t, s).last
		connect := func(f frame) {
			_, answer := run(t, s.shield, f.bytes())
			if _, tcp := headers(answer); tcp[13] == syn|ack {
				run(t, s.shield, f.reply(answer).bytes())
			}
		}
		_, answer := run(t, s.shield, synTo(service).bytes())
		for i := range 5 {
			f := synTo(service)
			f.sport += uint16(i)
			_, answer := run(t, s.shield, f.bytes())
			if _, tcp := headers(answer); tcp[13] == syn|ack {
				run(t, s.shield, f.reply(answer).bytes())
			}
		}
		got := since(t, s, before)
		if got[Cookie] != 3 || got[SYNAnswered] != 4 || got[Limited] != 2 {
			t.Errorf("three of five connections: %v", got)
		}
		// The limit also applies to handshakes in progress.
		before = watch(t, s).last
		run(t, s.shield, synTo(service).reply(answer).bytes())
		if got := since(t, s, before); got[Limited] != 1 {
			t.Errorf("a cookie of before: %v", got)
		}
		// It doesn't apply to the next prefix, nor to an allowed one.
		neighbour := synTo(service)
		neighbour.from = addr("198.51.100.1")
		if !service.Address.Is4() {
			neighbour.from = addr("2001:db8:9:1::1")
		}
		before = watch(t, s).last
		connect(neighbour)
		if got := since(t, s, before); got[Cookie] != 1 {
			t.Errorf("a neighbour: %v", got)
		}
		prefix, _ := synTo(service).from.Prefix(24)
		if err := s.Allow(prefix, time.Time{}); err != nil {
			t.Fatal(err)
		}
		before = watch(t, s).last
		connect(synTo(service))
		if got := since(t, s, before); got[Cookie] != 1 {
			t.Errorf("an allowed prefix: %v", got)
		}
		if _, err := s.Unlist(prefix); err != nil {
			t.Fatal(err)
		}
	})
	openers, err := s.Openers(10)
	if err != nil || len(openers) != 4 || openers[0].Connections != 4 || !openers[0].Limited || openers[3].Connections != 1 || openers[3].Limited {
		t.Errorf("openers: %+v, %v", openers, err)
	}
}

func TestTopNamesTheNoisiest(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: three, Cookies: Always})
	bad := with(synTo(mail4), func(f *frame) { f.flags = ack })
	flood(t, s, bad, 6400)
	flood(t, s, with(synTo(mail6), func(f *frame) { f.flags = ack }), 640)
	top, err := s.Top(10)
	if err != nil || len(top) != 2 {
		t.Fatalf("%+v, %v", top, err)
	}
	if top[0].Prefix.String() != "203.0.113.0/24" || top[0].Packets < 6000 || top[0].Packets > 7000 || top[0].Last != Bogus ||
		top[0].Bytes != top[0].Packets*uint64(len(bad.bytes())) || time.Since(top[0].Seen) > time.Minute {
		t.Errorf("the noisiest is %+v", top[0])
	}
	if top[1].Prefix.String() != "2001:db8:9::/64" || top[1].Packets < 500 || top[1].Packets > 1000 {
		t.Errorf("the next is %+v", top[1])
	}
	if top, err = s.Top(1); err != nil || len(top) != 1 {
		t.Errorf("%+v, %v", top, err)
	}
}
