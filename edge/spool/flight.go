package spool

import (
	"errors"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrCut says that a draft was cut: it came more slowly than the others while the space for drafts
// was used up.
var ErrCut = errors.New("spool: draft was cut, its message came too slowly while space for drafts is short")

// Client is who sends a draft.
type Client struct {
	// Network is whom the draft counts for: the /24 or /64 of the sender. The zero value counts for
	// nobody, and its draft is never cut.
	Network netip.Prefix
	// Cut is called at most once, from any goroutine and without waiting for it, when the draft is
	// cut: whoever waits for the sender should return. nil: the next Write or Commit reports it.
	Cut func()
}

// flight bounds the bytes of drafts on the disk, in all and by network. When there is no room for
// more, it cuts the slowest drafts: a sender who holds much and sends little makes room for the
// others. It is a limit of its own, well below the disk's reserve, so that drafts can't fill the
// spool.
type flight struct {
	most, mostByNetwork int64 // bytes; 0: no limit
	now                 func() time.Time

	mu     sync.Mutex
	total  int64 // of drafts that were not cut
	by     map[netip.Prefix]int64
	drafts map[*flyer]struct{}

	cuts struct{ disk, network atomic.Int64 } // by the limit that was reached
}

// flyer is a draft in flight.
type flyer struct {
	client Client
	bytes  int64
	flow   flow
	known  bool // to the flight; only the draft's own goroutine asks
	sealed bool // it is complete, and its commit is on its way
	cut    bool
}

// flow measures how fast a draft came lately: what came earlier counts less and less.
type flow struct {
	began, last time.Time
	recent      float64 // bytes, decayed
}

// flowTime is the time in which a byte loses 63% of its weight.
const flowTime = 10 * time.Second

// add counts n bytes at now.
func (f *flow) add(now time.Time, n int64) {
	if f.began.IsZero() {
		f.began, f.last = now, now
	}
	f.recent = f.recent*f.decay(now) + float64(n)
	f.last = now
}

func (f *flow) decay(now time.Time) float64 {
	return math.Exp(-now.Sub(f.last).Seconds() / flowTime.Seconds())
}

// rate returns bytes a second. A draft that began just now is compared by what it would bring in half
// a second.
func (f *flow) rate(now time.Time) float64 {
	age := max(now.Sub(f.began), time.Second/2).Seconds()
	weight := flowTime.Seconds() * (1 - math.Exp(-age/flowTime.Seconds()))
	return f.recent * f.decay(now) / weight
}

// slowest returns the draft to cut: the slowest of a network, or with the zero prefix of all. nil:
// there is none that may be cut.
func slowest(drafts map[*flyer]struct{}, network netip.Prefix, now time.Time) (found *flyer) {
	var least float64
	for d := range drafts {
		if d.sealed || d.cut || !d.client.Network.IsValid() || network.IsValid() && d.client.Network != network {
			continue
		}
		if r := d.flow.rate(now); found == nil || r < least || r == least && d.bytes > found.bytes {
			found, least = d, r
		}
	}
	return found
}

// grow counts n more bytes of d, and cuts others, or d itself, until there is room for them. It
// returns ErrCut if d was cut.
func (f *flight) grow(d *flyer, n int64) error {
	if d == nil {
		return nil // a self-test
	}
	now := f.now()
	var cut []*flyer
	f.mu.Lock()
	d.flow.add(now, n)
	f.drafts[d], d.known = struct{}{}, true
	for !d.cut {
		victim := f.victim(d, n, now)
		if victim == nil {
			break
		}
		cut = append(cut, victim)
		victim.cut = true
		f.count(victim, -victim.bytes)
	}
	refused := d.cut
	if !refused {
		f.count(d, n)
	}
	f.mu.Unlock()
	for _, v := range cut {
		if v.client.Cut != nil {
			v.client.Cut()
		}
	}
	if refused {
		return ErrCut
	}
	return nil
}

// victim returns which draft to cut so that d may have n more bytes; nil: there is room, or none that
// may be cut. The caller holds mu.
func (f *flight) victim(d *flyer, n int64, now time.Time) *flyer {
	network, cuts := d.client.Network, &f.cuts.network
	switch {
	case f.mostByNetwork > 0 && network.IsValid() && f.by[network]+n > f.mostByNetwork:
	case f.most > 0 && f.total+n > f.most:
		network, cuts = netip.Prefix{}, &f.cuts.disk
	default:
		return nil
	}
	v := slowest(f.drafts, network, now)
	if v != nil {
		cuts.Add(1)
	}
	return v
}

// count adds n bytes to d's, which may be negative. The caller holds mu.
func (f *flight) count(d *flyer, n int64) {
	d.bytes += n
	f.total += n
	if network := d.client.Network; network.IsValid() {
		if f.by[network] += n; f.by[network] == 0 {
			delete(f.by, network)
		}
	}
}

// seal keeps d from being cut: its message is complete. It returns ErrCut if it was cut before.
func (f *flight) seal(d *flyer) error {
	if d == nil || !d.known {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	d.sealed = true
	if d.cut {
		return ErrCut
	}
	return nil
}

// end forgets d.
func (f *flight) end(d *flyer) {
	if d == nil || !d.known { // most messages never need a file
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count(d, -d.bytes)
	delete(f.drafts, d)
}

// used returns the bytes of drafts that were not cut.
func (f *flight) used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

var draftsCut = prometheus.NewDesc(prefix+"drafts_cut_total", "Messages cut in transfer, because they came most slowly while space was short.", []string{"reason"}, nil)

// Describe describes the metrics.
func (f *flight) Describe(ch chan<- *prometheus.Desc) { ch <- draftsCut }

// Collect counts the drafts that were cut.
func (f *flight) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(draftsCut, prometheus.CounterValue, float64(f.cuts.disk.Load()), "disk")
	ch <- prometheus.MustNewConstMetric(draftsCut, prometheus.CounterValue, float64(f.cuts.network.Load()), "network")
}
