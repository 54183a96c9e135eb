package poll

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"anymx/edge/operate/api"
)

// TestProgram polls every second, ten times as often while a caller waits, and gives up on an
// answer after its time limit.
func TestProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var asked atomic.Int64
		var hangs, fails, closed atomic.Bool
		n := newProgram("anymx-net", slog.New(slog.NewTextHandler(&log, nil)), func(ctx context.Context) (int64, error) {
			n := asked.Add(1)
			if hangs.Load() {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			if fails.Load() {
				return 0, errors.New("no socket")
			}
			return n, nil
		}, func() { closed.Store(true) })
		ctx, cancel := context.WithCancel(t.Context())
		go n.Run(ctx)
		synctest.Wait()
		if v := n.Last(); asked.Load() != 1 || v.Status == nil || *v.Status != 1 || !v.Asked.Equal(time.Now()) || v.Problem != "" {
			t.Errorf("at first: asked %d times, %+v", asked.Load(), v)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		if asked.Load() != 11 {
			t.Errorf("asked %d times in ten seconds", asked.Load()-1)
		}
		got := await(ctx, n, func(v *api.Neighbour[int64]) bool { return *v.Status >= 31 })
		if *got.Status != 31 || asked.Load() != 31 {
			t.Errorf("awaited 31, got %d after %d", *got.Status, asked.Load())
		}
		began := time.Now()
		done := n.Hurry()
		time.Sleep(time.Second + time.Millisecond)
		if done(); asked.Load() != 42 {
			t.Errorf("asked %d times in a second of haste", asked.Load()-31)
		}
		fails.Store(true)
		time.Sleep(2 * time.Second)
		fails.Store(false)
		hangs.Store(true)
		time.Sleep(3 * time.Second)
		short, stop := context.WithTimeout(ctx, time.Second)
		last := await(short, n, func(v *api.Neighbour[int64]) bool { return v.Problem == "" })
		stop()
		if !strings.Contains(last.Problem, "anymx-net has not answered within 2s") || *last.Status < 42 || !last.Asked.After(began) {
			t.Errorf("of one that hangs: %+v, status %d", last, *last.Status)
		}
		hangs.Store(false)
		time.Sleep(3 * time.Second)
		if v := n.Last(); v.Problem != "" {
			t.Errorf("back again: %+v", v)
		}
		cancel()
		synctest.Wait()
		if !closed.Load() {
			t.Error("its client is not closed")
		}
		if s := log.String(); strings.Count(s, "does not answer") != 1 || strings.Count(s, "answers again") != 1 {
			t.Errorf("logged:\n%s", s)
		}
		var none *Program[int64]
		if none.Last() != nil {
			t.Error("one that is not configured has a status")
		}
	})
}

// await hurries p until an answer satisfies ok, or ctx ends. It returns the last answer.
func await(ctx context.Context, p *Program[int64], ok func(*api.Neighbour[int64]) bool) api.Neighbour[int64] {
	defer p.Hurry()()
	for {
		last, changed := p.Watch()
		if ok(&last) {
			return last
		}
		select {
		case <-ctx.Done():
			return last
		case <-changed:
		}
	}
}
