package wire

import (
	"cmp"
	"slices"
	"time"
)

// evictEvery is how often connections are evicted at most: a pass looks at all of them.
const evictEvery = 100 * time.Millisecond

// idle is a connection that can be evicted.
type idle struct {
	conn    *Conn
	open    bool   // it has a transaction
	since   int64  // when it began to wait, in nanoseconds of Unix time
	weights [4]int // connections of its networks, from the widest to the narrowest
}

// before orders whom to evict first: one of the largest network, in that of the largest within it, and so
// on; without a transaction; the one that has waited longest.
func (a idle) before(b idle) int {
	if c := slices.Compare(b.weights[:], a.weights[:]); c != 0 {
		return c
	}
	if a.open != b.open {
		if b.open {
			return -1
		}
		return 1
	}
	return cmp.Compare(a.since, b.since)
}

// evict makes room where nearly all places are taken: a hundredth of them.
func (r *Registry) evict(l *Limits) {
	most := l.unreserved()
	if most <= 0 || l.Crowded <= 0 || r.caps.open() < most-most/20 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Sub(r.evicted) < evictEvery {
		return
	}
	r.evicted = now
	waiting := r.idle()
	slices.SortFunc(waiting, idle.before)
	for _, w := range waiting[:min(len(waiting), max(1, most/100))] {
		w.conn.evict()
		r.metrics.evicted.Inc()
	}
}

// idle returns the connections of the largest of the widest networks that wait for a command. r.mu is
// held.
func (r *Registry) idle() []idle {
	var waiting []idle
	largest := 0
	r.caps.mu.Lock()
	defer r.caps.mu.Unlock()
	for c := range r.conns {
		if !c.peer.joined {
			continue
		}
		weights := r.caps.weights(c.peer.client.Addr())
		if weights[0] < largest {
			continue
		}
		since, open, ok := c.idleSince()
		if !ok {
			continue
		}
		if weights[0] > largest {
			largest, waiting = weights[0], waiting[:0]
		}
		waiting = append(waiting, idle{c, open, since, weights})
	}
	return waiting
}
