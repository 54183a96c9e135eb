package queue

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

var unknownID = mail.NewIDs(1).Next(epoch)

// gate is a courier whose attempts wait until they are let through.
type gate struct {
	entered chan mail.ID
	pass    chan []mail.Result // nil: all are delivered
}

func newGate(n *node) *gate {
	g := &gate{entered: make(chan mail.ID), pass: make(chan []mail.Result)}
	n.courier.set(func(ctx context.Context, a *Attempt) ([]mail.Result, error) {
		select {
		case g.entered <- a.Message.Envelope.ID:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		select {
		case results := <-g.pass:
			if results == nil {
				results = deliver(a)
			}
			return results, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	return g
}

func wantAnswer(t *testing.T, a Answer, err error, done, later, missing int) {
	t.Helper()
	if err != nil || len(a.Done) != done || len(a.Pending) != later || len(a.Missing) != missing {
		t.Fatalf("%+v, %v; want %d done, %d later, %d missing", a, err, done, later, missing)
	}
}

func TestHoldAndRelease(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		n := newNode(t, fs, nil).run()
		n.courier.set(always(tempFail))
		id := n.accept()
		synctest.Wait()
		a, err := n.queue.Hold("suspicious", id, unknownID)
		wantAnswer(t, a, err, 1, 0, 1)
		n.want(0, 0, 1)
		a, err = n.queue.Hold("again", id)
		wantAnswer(t, a, err, 1, 0, 0)
		n.queue.Flush(id) // a flush leaves it alone
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n.courier.count() != 1 {
			t.Fatalf("%d attempts", n.courier.count())
		}
		n.close()

		n = newNode(t, fs, nil).run() // it is held after a restart too
		defer n.close()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		n.want(0, 0, 1)
		if st := n.state(id); !st.Held || st.HoldReason != "suspicious" {
			t.Errorf("state %+v", st)
		}
		a, err = n.queue.Release(id, unknownID)
		wantAnswer(t, a, err, 1, 0, 1)
		synctest.Wait()
		if calls := n.courier.of(id); len(calls) != 1 || calls[0].attempt != 2 {
			t.Errorf("tries after the release: %+v", calls)
		}
		n.empty()
		a, err = n.queue.Release(id)
		wantAnswer(t, a, err, 0, 0, 1)
	})
}

func TestDeleteWaiting(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		n.courier.set(always(tempFail))
		waiting, kept := n.accept(), n.accept()
		synctest.Wait()
		_, err := n.queue.Hold("", kept)
		if err != nil {
			t.Fatal(err)
		}
		a, err := n.queue.Delete(waiting, kept, unknownID)
		wantAnswer(t, a, err, 2, 0, 1)
		n.empty()
		time.Sleep(time.Hour)
		synctest.Wait()
		if n.courier.count() != 2 {
			t.Errorf("%d attempts", n.courier.count())
		}
	})
}

// A message that waits in the ring, with its body, for a free worker.
func TestChangeReady(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, func(o *Options) { o.Concurrency = 1 }).run()
		defer n.close()
		g := newGate(n)
		n.accept()
		<-g.entered
		deleted, kept, flushed := n.accept(), n.accept(), n.accept()
		a, err := n.queue.Delete(deleted)
		wantAnswer(t, a, err, 1, 0, 0)
		a, err = n.queue.Hold("", kept)
		wantAnswer(t, a, err, 1, 0, 0)
		wantAnswer(t, n.queue.Flush(flushed), nil, 1, 0, 0)
		n.want(2, 0, 1)
		g.pass <- nil
		if got := <-g.entered; got != flushed {
			t.Errorf("tried %s", got)
		}
		g.pass <- nil
		synctest.Wait()
		n.want(0, 0, 1)
		a, err = n.queue.Release(kept)
		wantAnswer(t, a, err, 1, 0, 0)
		if got := <-g.entered; got != kept {
			t.Errorf("tried %s", got)
		}
		g.pass <- nil
		synctest.Wait()
		n.empty()
		if calls := n.courier.of(kept); calls[0].attempt != 1 {
			t.Errorf("the first attempt is number %d", calls[0].attempt)
		}
	})
}

// What is asked for while a try is under way is done when it has ended, and the
// answer says so.
func TestChangeWhileTrying(t *testing.T) {
	deferAll := func(pending []int) []mail.Result { return refuse(&Attempt{Pending: pending}, tempFail) }
	for name, tt := range map[string]struct {
		change  func(*node, mail.ID) (Answer, error)
		results []mail.Result // nil: delivered
		later   int
		want    [3]int // active, waiting, held
	}{
		"delete, put off":   {func(n *node, id mail.ID) (Answer, error) { return n.queue.Delete(id) }, deferAll([]int{0}), 1, [3]int{0, 0, 0}},
		"delete, delivered": {func(n *node, id mail.ID) (Answer, error) { return n.queue.Delete(id) }, nil, 1, [3]int{0, 0, 0}},
		"hold, put off":     {func(n *node, id mail.ID) (Answer, error) { return n.queue.Hold("x", id) }, deferAll([]int{0}), 1, [3]int{0, 0, 1}},
		"hold, delivered":   {func(n *node, id mail.ID) (Answer, error) { return n.queue.Hold("x", id) }, nil, 1, [3]int{0, 0, 0}},
		"release":           {func(n *node, id mail.ID) (Answer, error) { return n.queue.Release(id) }, deferAll([]int{0}), 0, [3]int{0, 1, 0}},
		"flush":             {func(n *node, id mail.ID) (Answer, error) { return n.queue.Flush(id), nil }, deferAll([]int{0}), 0, [3]int{0, 1, 0}},
		"hold, release": {func(n *node, id mail.ID) (Answer, error) {
			n.queue.Hold("x", id)
			return n.queue.Release(id)
		}, deferAll([]int{0}), 0, [3]int{0, 1, 0}},
		"delete, hold": {func(n *node, id mail.ID) (Answer, error) {
			n.queue.Delete(id)
			return n.queue.Hold("x", id)
		}, deferAll([]int{0}), 1, [3]int{0, 0, 0}},
		"delete, release": {func(n *node, id mail.ID) (Answer, error) {
			n.queue.Delete(id)
			return n.queue.Release(id)
		}, deferAll([]int{0}), 1, [3]int{0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			kit.Bubble(t, func(t *testing.T) {
				n := newNode(t, nil, nil).run()
				defer n.close()
				g := newGate(n)
				id := n.accept()
				<-g.entered
				a, err := tt.change(n, id)
				wantAnswer(t, a, err, 1-tt.later, tt.later, 0)
				n.want(1, 0, 0) // nothing is done below an attempt
				if len(n.stored()) != 1 {
					t.Fatal("gone while it is being tried")
				}
				g.pass <- tt.results
				synctest.Wait()
				n.want(tt.want[0], tt.want[1], tt.want[2])
				if tt.want[2] == 1 {
					if st := n.state(id); !st.Held || st.HoldReason != "x" || st.Attempts != 1 {
						t.Errorf("state %+v", st)
					}
				}
				if tt.want == [3]int{} {
					n.empty()
				}
			})
		})
	}
}

func TestFlush(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		n.courier.set(always(tempFail))
		one, other := n.accept(), n.accept()
		synctest.Wait()
		wantAnswer(t, n.queue.Flush(one, unknownID), nil, 1, 0, 1)
		synctest.Wait()
		if a, b := len(n.courier.of(one)), len(n.courier.of(other)); a != 2 || b != 1 {
			t.Fatalf("%d and %d attempts", a, b)
		}
		if got := n.queue.FlushAll(); got != 2 {
			t.Errorf("%d flushed", got)
		}
		synctest.Wait()
		if a, b := len(n.courier.of(one)), len(n.courier.of(other)); a != 3 || b != 2 {
			t.Fatalf("%d and %d attempts", a, b)
		}
		wantAnswer(t, n.queue.Flush(), nil, 0, 0, 0)
	})
}

// A flush asks a courier that is down at once.
func TestFlushEndsPause(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		o := newOutage(n, time.Hour)
		id := n.accept()
		synctest.Wait()
		o.end()
		wantAnswer(t, n.queue.Flush(id), nil, 1, 0, 0)
		synctest.Wait()
		n.empty()
	})
}

// Everything at once: nothing is lost but what was deleted, nothing is
// delivered twice, nothing is left behind.
func TestOperatorRaces(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, func(o *Options) {
			o.Concurrency, o.Ready = 4, 8
			o.Schedule = Schedule{Retry: []time.Duration{5 * time.Second}}
		}).run()
		defer n.close()
		var mu sync.Mutex
		got := make(map[mail.ID]int)
		n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Millisecond)
			switch rand.IntN(4) {
			case 0:
				return refuse(a, tempFail), nil
			case 1:
				return nil, &Down{Until: time.Now().Add(time.Second), Cause: errors.New("x")}
			}
			mu.Lock()
			defer mu.Unlock()
			got[a.Message.Envelope.ID]++
			return deliver(a), nil
		})
		var ids []mail.ID
		deleted := make(map[mail.ID]bool)
		var wg sync.WaitGroup
		for range 300 {
			mu.Lock()
			ids = append(ids, n.accept())
			mu.Unlock()
			time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
			wg.Go(func() {
				time.Sleep(time.Duration(rand.IntN(60)) * time.Second)
				mu.Lock()
				id := ids[rand.IntN(len(ids))]
				mu.Unlock()
				var a Answer
				var err error
				switch rand.IntN(5) {
				case 0:
					a, err = n.queue.Delete(id)
					if len(a.Missing) == 0 {
						mu.Lock()
						deleted[id] = true
						mu.Unlock()
					}
				case 1:
					a, err = n.queue.Hold("x", id)
				case 2:
					a, err = n.queue.Release(id)
				case 3:
					a = n.queue.Flush(id)
				case 4:
					if _, err = n.queue.Show(id); errors.Is(err, spool.ErrNotFound) {
						err = nil
					}
					a.Done = []mail.ID{id}
				}
				if err != nil || len(a.Done)+len(a.Pending)+len(a.Missing) != 1 {
					t.Errorf("%+v, %v", a, err)
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		if _, err := n.queue.Release(ids...); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		n.empty()
		for _, id := range ids {
			if got[id] > 1 || got[id] == 0 && !deleted[id] {
				t.Errorf("%s was delivered %d times, deleted: %v", id, got[id], deleted[id])
			}
		}
	})
}

func TestList(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		n.courier.set(always(tempFail))
		ctx := context.Background()
		var ids []mail.ID
		for i := range 25 {
			m := n.commit(func(e *mail.Envelope) {
				if i%5 == 0 {
					e.Sender.Domain = "example.org"
				}
			})
			ids = append(ids, m.Envelope.ID)
			n.queue.Accepted(m)
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		if _, err := n.queue.Hold("why", ids[3]); err != nil {
			t.Fatal(err)
		}

		// Pages stay stable while messages come and go.
		var seen []mail.ID
		f := Filter{Limit: 4}
		for page := 0; ; page++ {
			items, next, err := n.queue.List(ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range items {
				seen = append(seen, item.Envelope.ID)
			}
			if next.IsZero() {
				break
			}
			f.After = next
			if page == 1 {
				if _, err := n.queue.Delete(ids[2], ids[20]); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, n.accept())
				synctest.Wait()
			}
		}
		want := slices.Clone(ids)
		want = slices.Delete(want, 20, 21)
		if !slices.Equal(seen, want) {
			t.Errorf("pages give %d messages: %v\nwant %v", len(seen), seen, want)
		}

		items, _, err := n.queue.List(ctx, Filter{Match: func(i *Item) bool { return i.Envelope.Sender.Domain == "example.org" }})
		if err != nil || len(items) != 4 {
			t.Errorf("%d of that sender, %v", len(items), err)
		}
		items, next, err := n.queue.List(ctx, Filter{Status: Held})
		if err != nil || len(items) != 1 || items[0].Envelope.ID != ids[3] || items[0].State.HoldReason != "why" || !next.IsZero() {
			t.Errorf("held: %+v, %v", items, err)
		}
		shown, err := n.queue.Show(ids[4])
		if err != nil || len(shown) != 1 {
			t.Fatalf("%+v, %v", shown, err)
		}
		item := shown[0]
		if item.Status != Waiting || time.Until(item.Due) > 30*time.Second || item.State.Attempts != 1 || item.Expires.Sub(item.Envelope.Arrived) != 120*time.Hour {
			t.Errorf("%+v", item)
		}
		if _, err := n.queue.Show(unknownID); !errors.Is(err, spool.ErrNotFound) {
			t.Errorf("Show of nothing: %v", err)
		}
		done, cancel := context.WithCancel(ctx)
		cancel()
		if _, _, err := n.queue.List(done, Filter{}); !errors.Is(err, context.Canceled) {
			t.Errorf("List after the end: %v", err)
		}
		if s := n.queue.Stats(); s.Legs() != 24 || !s.Oldest.Equal(item.Envelope.Arrived.Add(-4*time.Millisecond)) || s.Bytes == 0 {
			t.Errorf("%+v", s)
		}
	})
}
