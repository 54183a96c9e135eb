package queue

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"anymx/edge/mail"
)

func entryOf(n uint64) *entry {
	var id mail.ID
	binary.BigEndian.PutUint64(id[2:], n)
	return &entry{legID: legID{message: id}, due: int64(n)}
}

// TestIndex compares the index with a sorted slice, through growth and decay.
func TestIndex(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var r index
	var model []*entry
	order := func(a, b *entry) int {
		return a.compare(b.legID)
	}
	next := uint64(1 << 20)
	for step := range 60000 {
		growing := step%20000 < 12000
		switch {
		case growing && rnd.IntN(4) > 0 || len(model) == 0:
			next++
			e := entryOf(next) // mostly at the end, as mail arrives
			if rnd.IntN(5) == 0 {
				e = entryOf(rnd.Uint64N(next))
			}
			at, found := slices.BinarySearchFunc(model, e, order)
			if r.add(e) == found {
				t.Fatalf("step %d: add says %v for %v", step, !found, e.legID)
			}
			if !found {
				model = slices.Insert(model, at, e)
			}
		default:
			at := rnd.IntN(len(model))
			if rnd.IntN(2) == 0 {
				at = 0 // mostly from the front, as mail goes
			}
			r.remove(model[at])
			r.remove(model[at]) // a second time does nothing
			model = slices.Delete(model, at, at+1)
		}
		if r.n != len(model) {
			t.Fatalf("step %d: %d entries, want %d", step, r.n, len(model))
		}
		if step%997 != 0 {
			continue
		}
		if got := r.after(legID{}, 1<<30, nil); !slices.Equal(got, model) {
			t.Fatalf("step %d: another order", step)
		}
		for _, leaf := range r.leaves {
			if len(leaf) == 0 || len(leaf) > leafSize || cap(leaf) > leafSize {
				t.Fatalf("step %d: a leaf of %d, cap %d", step, len(leaf), cap(leaf))
			}
		}
		for range 20 {
			id := entryOf(rnd.Uint64N(next + 10)).legID
			at, found := slices.BinarySearchFunc(model, &entry{legID: id}, order)
			if (r.find(id) != nil) != found || found && r.find(id) != model[at] {
				t.Fatalf("step %d: find", step)
			}
			if found {
				at++
			}
			n := rnd.IntN(2000)
			if got := r.after(id, n, nil); !slices.Equal(got, model[at:min(at+n, len(model))]) {
				t.Fatalf("step %d: page behind %v", step, id)
			}
		}
		if len(model) > 0 && r.first() != model[0] || len(model) == 0 && r.first() != nil {
			t.Fatalf("step %d: first", step)
		}
	}
}

// An index that has shrunk must not keep the leaves of its best days.
func TestIndexShrinks(t *testing.T) {
	var r index
	var all []*entry
	for n := range uint64(100000) {
		all = append(all, entryOf(n+1))
		r.add(all[n])
	}
	for i, e := range all {
		if i%100 != 0 {
			r.remove(e)
		}
	}
	if r.n != 1000 || len(r.leaves) > 40 {
		t.Errorf("%d entries in %d leaves", r.n, len(r.leaves))
	}
}

// TestHeap compares the heap with a sorted slice.
func TestHeap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	var a heap[*entry, byDue]
	var model []*entry
	for step := range 20000 {
		switch op := rnd.IntN(10); {
		case op < 5 && step < 12000 || len(model) == 0:
			e := entryOf(uint64(step + 1))
			e.due = rnd.Int64N(50) // many are due at the same time
			a.add(e)
			model = append(model, e)
		case op < 8:
			at := rnd.IntN(len(model))
			a.remove(model[at])
			model = slices.Delete(model, at, at+1)
		default:
			e := model[rnd.IntN(len(model))]
			e.due = rnd.Int64N(50)
			a.fix(e)
		}
		if len(a.all) != len(model) {
			t.Fatalf("step %d: %d, want %d", step, len(a.all), len(model))
		}
		var least *entry
		for i, e := range model {
			if least == nil || a.o.before(e, least) {
				least = e
			}
			if step%501 == 0 && a.all[model[i].dueAt-1] != model[i] {
				t.Fatalf("step %d: an index is wrong", step)
			}
		}
		if top, _ := a.top(); top != least {
			t.Fatalf("step %d: top", step)
		}
	}
	for last := (*entry)(nil); len(a.all) > 0; {
		e, _ := a.top()
		if last != nil && a.o.before(e, last) {
			t.Fatal("out of order")
		}
		last = e
		a.remove(e)
	}
}

func TestEntrySize(t *testing.T) {
	if size := unsafe.Sizeof(entry{}); size > 64 {
		t.Errorf("an entry takes %d bytes", size)
	}
}

func BenchmarkIndexSteady(b *testing.B) {
	for _, size := range []int{100, 100000} {
		b.Run(map[int]string{100: "100", 100000: "100000"}[size], func(b *testing.B) {
			var r index
			all := make([]*entry, 0, b.N+size)
			for n := range size {
				all = append(all, entryOf(uint64(n+1)))
				r.add(all[n])
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				e := entryOf(uint64(size + i + 1))
				all = append(all, e)
				r.add(e)
				r.remove(all[i])
			}
		})
	}
}
