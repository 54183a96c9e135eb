package budget

import (
	"sync"
	"testing"
)

func TestTakeBytes(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int64
		used  int64
		n     int64
		up    Share
		want  bool
	}{
		{"empty", 1000, 0, 1000, Whole, true},
		{"one too many", 1000, 1, 1000, Whole, false},
		{"large ends earlier", 1000, 700, 51, Large, false},
		{"large fits", 1000, 700, 50, Large, true},
		{"small goes on after large", 1000, 750, 10, Whole, true},
		{"ample", 1000, 500, 1, Ample, false},
		{"no limit", 0, 1 << 60, 1 << 60, Ample, true},
	} {
		b := New(c.limit)
		b.used.Store(c.used)
		got := b.TakeBytes(c.n, c.up)
		want := c.used
		if c.want {
			want += c.n
		}
		if got != c.want || b.Used() != want {
			t.Errorf("%s: %v, %d used", c.name, got, b.Used())
		}
	}
	var none *Budget
	if none.GiveBytes(1); !none.TakeBytes(1<<60, Ample) || none.Used() != 0 || none.Limit() != 0 || none.Refused() != 0 {
		t.Error("a nil budget counts")
	}
}

// Whatever is taken and given back at the same time, the budget is not exceeded for longer than it
// takes to refuse, and is empty in the end.
func TestManyUsers(t *testing.T) {
	b := New(10_000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range int64(2000) {
				if n := i % 3000; b.TakeBytes(n, Whole) {
					b.GiveBytes(n)
				}
			}
		})
	}
	wg.Wait()
	if b.Used() != 0 {
		t.Errorf("%d bytes are held by nobody", b.Used())
	}
}
