package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"anymx/edge/budget"
)

func network(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, byte(n), 0}), 24)
}

// Which draft is cut: each history is when it sent how many bytes, in seconds before now.
func TestSlowest(t *testing.T) {
	type piece struct{ ago, bytes float64 }
	now := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		name      string
		drafts    [][]piece
		sealed    int // index + 1
		onNetwork int // of each draft: its index; 0: any
		want      int
	}{
		{name: "a stream and a trickle", drafts: [][]piece{{{10, 1e6}, {5, 1e6}, {0, 1e6}}, {{10, 10}, {5, 10}, {0, 10}}}, want: 1},
		{name: "what was prepaid counts no more", drafts: [][]piece{{{60, 30e6}, {0, 1}}, {{60, 100e3}, {30, 100e3}, {0, 100e3}}}, want: 0},
		{name: "one that just began is not slow for that", drafts: [][]piece{{{0, 130e3}}, {{60, 1e6}, {40, 1e6}, {20, 1e6}, {0, 100e3}}}, want: 1},
		{name: "silent since it began", drafts: [][]piece{{{30, 130e3}}, {{30, 130e3}, {0, 1e3}}}, want: 0},
		{name: "the larger of two that are silent for the same time", drafts: [][]piece{{{0, 0}, {0, 0}}, {{0, 0}}}, want: 0},
		{name: "one that is complete is not cut", drafts: [][]piece{{{60, 10}}, {{0, 1e6}}}, sealed: 1, want: 1},
		{name: "within a network", drafts: [][]piece{{{60, 10}}, {{0, 1e6}}}, onNetwork: 1, want: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			drafts := map[*flyer]struct{}{}
			var list []*flyer
			for i, history := range c.drafts {
				d := &flyer{client: Client{Network: network(i)}, bytes: int64(len(history)), sealed: c.sealed == i+1}
				for _, p := range history {
					d.flow.add(now.Add(-time.Duration(p.ago*float64(time.Second))), int64(p.bytes))
				}
				drafts[d] = struct{}{}
				list = append(list, d)
			}
			var in netip.Prefix
			if c.onNetwork > 0 {
				in = network(c.onNetwork)
			}
			if got := slowest(drafts, in, now); got != list[c.want] {
				t.Errorf("cut: %+v", got)
			}
		})
	}
	if d := slowest(map[*flyer]struct{}{{}: {}}, netip.Prefix{}, now); d != nil {
		t.Error("a draft of our own is cut")
	}
}

// Drafts that hold the space for drafts and send nothing are cut for others, first those of the same
// network; the spool accepts all the time; and nothing is counted in the end.
func TestSlowDraftsAreCut(t *testing.T) {
	const reserve = 8 << 20 // 4 MiB for drafts, 1 MiB for a network
	o := testOptions(memory())
	o.DiskReserve = reserve
	o.Budget = budget.New(16 << 20)
	o.DiskFree = func(string) (int64, error) { return reserve + 2_000_000, nil }
	s := openTest(t, o)
	s.stop() // the watch would see that nothing fills this disk
	now := time.Now()
	s.flight.now = func() time.Time { return now }
	cut := 0
	var slow []*Draft
	for i := range 8 { // of four networks
		d, err := s.BeginDraftOf(Client{Network: network(i % 4), Cut: func() { cut++ }})
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, d)
		if _, err := d.Write(make([]byte, 520_000)); err != nil {
			t.Fatal(err)
		}
		if err := s.Accepting(); err != nil {
			t.Fatalf("with %d drafts: %v", i+1, err)
		}
	}
	now = now.Add(time.Minute)
	for i, c := range []struct{ network, size, cut int }{
		{1, 500_000, 1}, // its own network's
		{9, 900_000, 2}, // anybody's
	} {
		d, err := s.BeginDraftOf(Client{Network: network(c.network)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write(make([]byte, c.size)); err != nil || cut < c.cut {
			t.Fatalf("good draft %d: %v, %d were cut", i, err, cut)
		}
		if _, err := d.Commit(message()); err != nil {
			t.Fatal(err)
		}
	}
	cuts := 0
	for _, d := range slow {
		if _, err := d.Write([]byte("x")); errors.Is(err, ErrCut) {
			cuts++
		} else if err != nil {
			t.Error(err)
		}
		d.Discard()
	}
	if cuts != cut {
		t.Errorf("%d were called, %d are cut", cut, cuts)
	}
	atZero(t, s)
}

func atZero(t *testing.T, s *Spool) {
	t.Helper()
	if n := s.ledger.inFlight.Load(); n != 0 {
		t.Errorf("%d bytes in flight", n)
	}
	if n := s.flight.used(); n != 0 || len(s.flight.by) != 0 || len(s.flight.drafts) != 0 {
		t.Errorf("%d bytes in flight: %v, %d drafts", n, s.flight.by, len(s.flight.drafts))
	}
	if n := s.options.Budget.Used(); n != 0 {
		t.Errorf("%d bytes of memory", n)
	}
	if n := s.ledger.drafts.Load(); n != 0 {
		t.Errorf("%d drafts", n)
	}
}

// While memory is short, drafts take little of it and go to files; when there is none, new ones are
// refused, and the spool still says that it accepts.
func TestDraftsUnderPressure(t *testing.T) {
	o := testOptions(memory())
	o.Budget = budget.New(256 << 10)
	s := openTest(t, o)
	if !o.Budget.TakeBytes(200<<10, budget.Whole) { // somebody else's
		t.Fatal("no budget")
	}
	d := begin(t, s, "")
	if _, err := d.Write(make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	if d.file == nil || d.held > 1<<10 {
		t.Errorf("holds %d bytes of memory, file %v", d.held, d.file)
	}
	m, err := d.Commit(message())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := m.Body(); err != nil {
		t.Error(err)
	} else if err := b.Close(); err != nil {
		t.Error(err)
	}
	var open []*Draft
	var full *Full
	for {
		d, err := s.BeginDraft()
		if errors.As(err, &full) && full.Reason == ReasonMemory {
			break
		} else if err != nil || len(open) > 100 {
			t.Fatalf("%d drafts: %v", len(open), err)
		}
		open = append(open, d)
	}
	if len(open) != 56 {
		t.Errorf("%d drafts had room", len(open))
	}
	if err := s.Accepting(); err != nil {
		t.Error(err)
	}
	for _, d := range open {
		d.Discard()
	}
	o.Budget.GiveBytes(200 << 10)
	atZero(t, s)
}

// Whatever drafts do, all is counted back in the end.
func TestDraftsCountBack(t *testing.T) {
	o := testOptions(memory())
	o.DiskReserve = 4 << 20
	o.DiskFree = func(string) (int64, error) { return 1 << 30, nil }
	o.Budget = budget.New(1 << 20)
	s := openTest(t, o)
	r := rand.New(rand.NewPCG(1, 2))
	var open []*Draft
	outcomes := map[string]int{}
	for range 2000 {
		if i := r.IntN(12); i < len(open) {
			d := open[i]
			var err error
			switch r.IntN(6) {
			case 0:
				d.Discard()
			case 1:
				_, err = d.Commit(message())
			default:
				_, err = d.Write(make([]byte, r.IntN(150_000)))
			}
			if outcomes[fmt.Sprint(err != nil, errors.Is(err, ErrCut))]++; d.ended {
				open = append(open[:i], open[i+1:]...)
			}
			continue
		}
		d, err := s.BeginDraftOf(Client{Network: network(r.IntN(3)), Cut: func() {}})
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, d)
	}
	for _, d := range open {
		d.Discard()
	}
	if outcomes["true true"] == 0 || outcomes["false false"] == 0 {
		t.Errorf("outcomes: %v", outcomes)
	}
	atZero(t, s)
}
