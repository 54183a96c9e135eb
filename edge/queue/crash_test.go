package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// world is what has happened outside of the node: it can't be taken back.
type world struct {
	mu     sync.Mutex
	served map[string]int // times that a recipient was delivered, or told of
}

var finalRecipient = regexp.MustCompile(`(?m)^Final-Recipient: rfc822; ([^@]+)@`)

// deliver answers at random, and remembers what it has taken.
func (w *world) deliver(n *node, rnd *rand.Rand) func(context.Context, *Attempt) ([]mail.Result, error) {
	return func(ctx context.Context, a *Attempt) ([]mail.Result, error) {
		w.mu.Lock()
		pause, luck := time.Duration(rnd.IntN(3000))*time.Millisecond, rnd.IntN(12)
		w.mu.Unlock()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if luck == 0 {
			return nil, &Down{Until: time.Now().Add(2 * time.Second), Cause: errors.New("x")}
		}
		env := a.Message.Envelope
		results := deliver(a)
		w.mu.Lock()
		defer w.mu.Unlock()
		for i := range results {
			local := env.Recipients[results[i].Recipient].Path.Local
			switch {
			case env.Sender.IsNull() && rnd.IntN(3) > 0, !env.Sender.IsNull() && rnd.IntN(3) == 0:
				w.served[local]++
			case !env.Sender.IsNull() && rnd.IntN(4) == 0:
				results[i].Failure = permFail
				continue
			default:
				results[i].Failure = tempFail
				continue
			}
			if env.Sender.IsNull() {
				calls := n.courier.of(env.ID)
				for _, m := range finalRecipient.FindAllStringSubmatch(calls[len(calls)-1].body, -1) {
					w.served[m[1]]++
				}
			}
		}
		return results, nil
	}
}

// The power goes again and again, in the middle of a write and with what was
// not synced lost or torn. In the end each recipient of each message that was
// ever accepted has it, or its sender has been told.
func TestCrashesLoseNothing(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { kit.Bubble(t, func(t *testing.T) { crashRounds(t, seed) }) })
	}
}

func crashRounds(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 9))
	w := &world{served: make(map[string]int)}
	var accepted []string
	mem := vfs.NewCrashableMem()
	quick := func(o *Options) {
		o.Concurrency, o.Ready = 4, 4
		o.Schedule = Schedule{Retry: []time.Duration{time.Second, 5 * time.Second}}
		o.Grace = func() time.Duration { return time.Second }
	}
	for round := range 12 {
		// The power goes at one of the next writes.
		var mu sync.Mutex
		var crashed *vfs.MemFS
		var served map[string]int
		left := rnd.IntN(400)
		cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: rnd.IntN(101), RNG: rand.New(rand.NewPCG(seed, uint64(round)))}
		disk := mem
		fs := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || crashed != nil {
				return nil
			}
			if left--; left < 0 {
				crashed = disk.CrashClone(cfg)
				w.mu.Lock()
				served = maps.Clone(w.served)
				w.mu.Unlock()
			}
			return nil
		}))
		n := newNode(t, fs, quick)
		n.courier.set(w.deliver(n, rand.New(rand.NewPCG(seed, uint64(round)+100))))
		n.run()
		var fresh []string
		for i := range 25 {
			var to []mail.Recipient
			for r := range 1 + rnd.IntN(3) {
				to = append(to, recipient(fmt.Sprintf("r%d-%d-%d", round, i, r), 0))
			}
			n.accept(to...)
			mu.Lock()
			if crashed == nil { // acknowledged in time
				for _, r := range to {
					fresh = append(fresh, r.Path.Local)
				}
			}
			mu.Unlock()
			time.Sleep(time.Duration(rnd.IntN(500)) * time.Millisecond)
		}
		time.Sleep(time.Duration(rnd.IntN(20)) * time.Second)
		n.close()
		if crashed == nil {
			crashed, served = mem.CrashClone(cfg), w.served
		}
		accepted = append(accepted, fresh...)
		mem, w.served = crashed, served
	}

	n := newNode(t, mem, quick)
	defer n.close()
	n.courier.set(w.deliver(n, rnd))
	n.run()
	time.Sleep(time.Hour)
	synctest.Wait()
	n.empty()
	twice := 0
	for _, local := range accepted {
		switch n := w.served[local]; {
		case n == 0:
			t.Errorf("%s has got nothing, and nobody was told", local)
		case n > 1:
			twice++
		}
	}
	if twice > len(accepted)/4 {
		t.Errorf("%d of %d were served more than once", twice, len(accepted))
	}
	t.Logf("%d recipients, %d served more than once in %d crashes", len(accepted), twice, 12)
}
