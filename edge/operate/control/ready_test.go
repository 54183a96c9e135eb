package control

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func newReadiness(check func(context.Context) error) *readiness {
	r := &readiness{check: check}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r
}

func TestReadinessIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks atomic.Int32
		fail := errors.New("disk full")
		r := newReadiness(func(context.Context) error {
			checks.Add(1)
			time.Sleep(50 * time.Millisecond)
			return fail
		})
		defer r.close()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if err := r.ask(t.Context()); err != fail {
					t.Errorf("ask: %v", err)
				}
			})
		}
		all.Wait()
		if n := checks.Load(); n != 1 {
			t.Errorf("100 that asked at once made %d checks", n)
		}
		time.Sleep(readyFresh - time.Nanosecond)
		r.ask(t.Context()) // counted below
		if n := checks.Load(); n != 1 {
			t.Errorf("a fresh answer was not given again: %d checks", n)
		}
		time.Sleep(time.Nanosecond)
		fail = nil
		if err := r.ask(t.Context()); err != nil || checks.Load() != 2 {
			t.Errorf("after %v: %v, %d checks", readyFresh, err, checks.Load())
		}
		r.forget()
		if err := r.ask(t.Context()); err != nil || checks.Load() != 3 {
			t.Errorf("after forget: %v, %d checks", err, checks.Load())
		}
	})
}

func TestReadinessOfHungDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var checks atomic.Int32
		disk := make(chan struct{})
		r := newReadiness(func(context.Context) error { checks.Add(1); <-disk; return nil })
		start := time.Now()
		for i := range 3 {
			err := r.ask(t.Context())
			if err == nil || !strings.Contains(err.Error(), "does the disk hang?") {
				t.Fatalf("ask %d: %v", i, err)
			}
		}
		if d := time.Since(start); d != readyTimeout {
			t.Errorf("three that asked waited %v in all, want %v: the later ones know at once", d, readyTimeout)
		}
		if n := checks.Load(); n != 1 {
			t.Errorf("%d checks hang", n)
		}
		r.close()
		if err := r.wait(time.Second); err == nil {
			t.Error("wait says that the check has ended")
		}
		close(disk)
		synctest.Wait()
		if err := r.wait(time.Second); err != nil {
			t.Error(err)
		}
		time.Sleep(readyFresh)
		if err := r.ask(t.Context()); err == nil || checks.Load() != 1 {
			t.Errorf("after close: %v, %d checks", err, checks.Load())
		}
	})
}

func TestReadinessCheckIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReadiness(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		asked := make(chan error)
		go func() { asked <- r.ask(t.Context()) }()
		synctest.Wait()
		r.close()
		if err := <-asked; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.ask(ctx); err == nil {
			t.Error("an ask after close succeeded")
		}
	})
}
