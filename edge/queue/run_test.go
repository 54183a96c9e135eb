package queue

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// What was waiting is taken up again, each when it is due.
func TestRestart(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		n := newNode(t, fs, nil).run()
		n.courier.set(always(tempFail))
		later := n.accept()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		n.halt()
		never := n.accept() // accepted, but nobody attempts it any more
		n.want(0, 2, 0)
		n.close()

		n = newNode(t, fs, nil)
		defer n.close()
		n.want(0, 2, 0)
		early := n.accept() // before Run
		start := time.Now()
		n.run()
		time.Sleep(time.Minute)
		synctest.Wait()
		n.empty()
		for id, want := range map[mail.ID]struct {
			at      time.Duration
			attempt int
		}{
			later: {20 * time.Second, 2}, // due 30s after its first try
			never: {0, 2},                // the first counts as begun at arrival
			early: {0, 1},
		} {
			calls := n.courier.of(id)
			if len(calls) != 1 || calls[0].at.Sub(start) != want.at || calls[0].attempt != want.attempt {
				t.Errorf("%s: %+v, want attempt %d at %v", id, calls, want.attempt, want.at)
			}
		}
	})
}

// When nobody is free and the ring is full, mail waits in the spool alone, and
// neither way keeps the other waiting.
func TestRingOverflow(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, func(o *Options) { o.Ready, o.Concurrency = 4, 1 }).run()
		defer n.close()
		g := newGate(n)
		n.accept()
		<-g.entered
		place := make(map[mail.ID]string)
		for range 4 {
			place[n.accept()] = "ring"
		}
		n.want(5, 0, 0)
		for range 4 {
			place[n.accept()] = "spool"
		}
		n.want(5, 4, 0)
		var order []string
		for range 8 {
			g.pass <- nil
			order = append(order, place[<-g.entered])
		}
		g.pass <- nil
		synctest.Wait()
		if got := strings.Join(order, " "); got != strings.TrimSpace(strings.Repeat("ring spool ", 4)) && got != strings.TrimSpace(strings.Repeat("spool ring ", 4)) {
			t.Errorf("order: %s", got)
		}
		for id := range place {
			if calls := n.courier.of(id); len(calls) != 1 || calls[0].attempt != 1 {
				t.Errorf("%+v", calls)
			}
		}
		n.empty()
	})
}

// At the end attempts in flight may finish, for a while.
func TestStopWaitsForTries(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, func(o *Options) { o.Concurrency = 2 }).run()
		defer n.close()
		n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
			time.Sleep(15 * time.Second)
			return deliver(a), nil
		})
		n.accept()
		n.accept()
		rest := n.accept()
		synctest.Wait()
		start := time.Now()
		n.halt()
		if took := time.Since(start); took != 15*time.Second {
			t.Errorf("Run took %v to end", took)
		}
		if ids := n.stored(); len(ids) != 1 || ids[0] != rest {
			t.Errorf("left: %v", ids)
		}
		n.want(0, 1, 0)
	})
}

// A try that does not end is cancelled, and its message stays.
func TestStopCancelsTries(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		n := newNode(t, fs, func(o *Options) { o.Grace = func() time.Duration { return 5 * time.Second } }).run()
		n.courier.set(func(ctx context.Context, _ *Attempt) ([]mail.Result, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		id := n.accept()
		synctest.Wait()
		start := time.Now()
		n.halt()
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("Run took %v to end", took)
		}
		n.close()
		n = newNode(t, fs, nil).run()
		defer n.close()
		synctest.Wait()
		if calls := n.courier.of(id); len(calls) != 1 {
			t.Errorf("tries after the restart: %+v", calls)
		}
		n.empty()
	})
}

func TestRunOnce(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		synctest.Wait()
		if err := n.queue.Run(context.Background()); err == nil {
			t.Error("a second Run")
		}
	})
}

func TestNewRefuses(t *testing.T) {
	n := newNode(t, vfs.NewMem(), nil)
	defer n.close()
	good := Options{Spool: n.spool, Courier: n.courier, Hostname: func() string { return "mx.example.net" }}
	for name, change := range map[string]func(*Options){
		"no spool": func(o *Options) { o.Spool = nil }, "no courier": func(o *Options) { o.Courier = nil }, "no hostname": func(o *Options) { o.Hostname = nil },
		"bad schedule": func(o *Options) { o.Schedule.Jitter = 2 }, "negative": func(o *Options) { o.Concurrency = -1 },
	} {
		o := good
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A drain attempts everything once, and says what is left.
func TestDrain(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		n.courier.set(always(tempFail))
		stays, goes, kept := n.accept(), n.accept(), n.accept()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if _, err := n.queue.Hold("", kept); err != nil {
			t.Fatal(err)
		}
		n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
			time.Sleep(time.Second)
			if a.Message.Envelope.ID == stays {
				return refuse(a, tempFail), nil
			}
			return deliver(a), nil
		})
		start := time.Now()
		go func() { // mail that comes meanwhile is waited for
			time.Sleep(900 * time.Millisecond)
			n.accept()
		}()
		left, err := n.queue.Drain(context.Background())
		if err != nil || left.Held != 1 || left.Waiting != 1 || left.Active != 0 || time.Since(start) != 2*time.Second {
			t.Errorf("after %v: %+v, %v", time.Since(start), left, err)
		}
		if len(n.courier.of(goes)) < 2 {
			t.Error("not tried")
		}
		if left, err = n.queue.Drain(context.Background()); err != nil || left.Legs() != 2 {
			t.Errorf("a second drain: %+v, %v", left, err)
		}
		if _, err := n.queue.Delete(stays, kept); err != nil {
			t.Fatal(err)
		}
		n.empty()
		if left, err = n.queue.Drain(context.Background()); err != nil || left.Legs() != 0 {
			t.Errorf("a drain of nothing: %+v, %v", left, err)
		}
	})
}

// While the courier is down a drain waits for it, as long as it may.
func TestDrainWhileDown(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		o := newOutage(n, time.Minute)
		n.accept()
		// It ends between two attempts, which are a minute apart: at a full minute the
		// message might be the one that is tried.
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute+30*time.Second)
		defer cancel()
		left, err := n.queue.Drain(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || left.Waiting != 1 || left.Paused == nil {
			t.Errorf("%+v, %v", left, err)
		}
		time.AfterFunc(5*time.Minute, o.end)
		if left, err := n.queue.Drain(context.Background()); err != nil || left.Legs() != 0 {
			t.Errorf("%+v, %v", left, err)
		}
	})
}

// TestEntryMemory measures what a waiting message costs.
func TestEntryMemory(t *testing.T) {
	const count = 100000
	n := newNode(t, vfs.NewMem(), nil)
	defer n.close()
	ids := mail.NewIDs(1)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	q := n.queue
	for i := range count {
		at := epoch.Add(time.Duration(i) * time.Millisecond)
		e := newEntry(legID{message: ids.Next(at)}, 10240, at.UnixNano())
		q.mu.Lock()
		q.lane("").join(e, "")
		q.enter(e)
		q.wait(e)
		q.mu.Unlock()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := float64(after.HeapAlloc-before.HeapAlloc) / count
	t.Logf("%.1f bytes for each of %d waiting messages", each, count)
	if each > 128 {
		t.Errorf("%.1f bytes for each waiting message", each)
	}
	if s := q.Stats(); s.Waiting != count {
		t.Errorf("%+v", s)
	}
	runtime.KeepAlive(q)
}

// A backlog is worked off by all workers, though one timer wakes them.
func TestBacklogIsShared(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		n := newNode(t, fs, nil)
		for range 64 {
			n.commit(nil)
		}
		n.close()
		n = newNode(t, fs, func(o *Options) { o.Concurrency = 8 })
		defer n.close()
		var busy, most atomic.Int32
		n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
			most.Store(max(most.Load(), busy.Add(1)))
			time.Sleep(time.Second)
			busy.Add(-1)
			return refuse(a, tempFail), nil
		})
		n.run()
		time.Sleep(8*time.Second + time.Millisecond)
		synctest.Wait()
		if n.courier.count() != 64 || most.Load() != 8 {
			t.Errorf("%d attempts in 8 seconds, %d at a time", n.courier.count(), most.Load())
		}
		most.Store(0)
		time.Sleep(70 * time.Second)
		synctest.Wait()
		if n.courier.count() != 128 || most.Load() != 8 {
			t.Errorf("second round: %d attempts, %d at a time", n.courier.count()-64, most.Load())
		}
	})
}
