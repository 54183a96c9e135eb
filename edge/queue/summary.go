package queue

import (
	"cmp"
	"slices"
	"time"
)

// Row is what waits for one destination.
type Row struct {
	Destination           string
	Legs                  int
	Active, Waiting, Held int
	Bytes                 int64
	Oldest                time.Time
	Next                  time.Time // the next attempt; zero: none is scheduled
	Ages                  []int     // legs by age: up to each bound, and older
	Why                   string    // why the destination gets nothing now; "": it does
}

// Summary returns the destinations with the most legs, the greatest first, at most limit of them, and
// how many destinations there are. ages are the upper bounds of the age groups, ascending.
func (q *Queue) Summary(limit int, ages []time.Duration) (rows []Row, lanes int) {
	shown, lanes := q.greatest(limit)
	for _, r := range shown {
		r.Ages = make([]int, len(ages)+1)
	}
	now := q.clock.now()
	q.all(func(e *entry) {
		r := shown[e.lane]
		if r == nil {
			return
		}
		r.Legs++
		r.Bytes += e.size
		switch q.status(e) {
		case Active:
			r.Active++
		case Waiting:
			r.Waiting++
		case Held:
			r.Held++
		}
		at, _ := slices.BinarySearch(ages, time.Duration(now-e.arrived))
		r.Ages[at]++
		r.arrived = min(r.arrived, e.arrived)
	})
	q.mu.Lock()
	for l, r := range shown {
		r.Oldest = q.clock.wallAt(r.arrived)
		if top, ok := l.due.top(); ok {
			r.Next = q.clock.wallAt(top.due)
			r.Why = q.why(top)
		}
	}
	q.mu.Unlock()
	for _, r := range shown {
		if r.Legs > 0 {
			rows = append(rows, r.Row)
		}
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(b.Legs, a.Legs), cmp.Compare(a.Destination, b.Destination))
	})
	return rows, lanes
}

// gathered is a row while the legs are counted.
type gathered struct {
	Row
	arrived int64 // of the oldest, by the queue's clock
}

// greatest returns an empty row for each of the lanes with the most legs, and how many lanes there are.
func (q *Queue) greatest(limit int) (map[*lane]*gathered, int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]*lane, 0, len(q.lanes))
	for _, l := range q.lanes {
		if l.legs > 0 {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(a, b *lane) int {
		return cmp.Or(cmp.Compare(b.legs, a.legs), cmp.Compare(a.name, b.name))
	})
	rows := make(map[*lane]*gathered)
	for _, l := range all[:min(len(all), limit)] {
		rows[l] = &gathered{Row: Row{Destination: l.name}, arrived: never}
	}
	return rows, len(all)
}
