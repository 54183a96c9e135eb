package queue

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// A simulated node: a queue on a real spool, on a disk that loses power in the middle of writes, with
// destinations that are slow, dead, hang, lie or answer by half, and a wall clock that is set. Everything
// happens in one bubble, driven by a seed. The world outside remembers what it has got, and the promises are
// checked against that:
//
//   - each acknowledged recipient gets the message, or its sender is notified;
//   - a recipient gets it twice only where SMTP can't tell, or the power went in between;
//   - no leg that could be attempted is older than its end and a minute;
//   - no destination has more attempts than its lane allows;
//   - an attempt is recorded before it is made: its number never comes again, unless it found the destination
//     down.

const (
	simExpire  = 40 * time.Minute
	simLimit   = 3 // attempts at a time for a destination
	simWorkers = 8
	simMail    = time.Hour // while mail comes
)

// line is a line of a simulation's story.
type line struct {
	at   time.Duration // since the beginning
	text string
}

// simulation is one run.
type simulation struct {
	t     *testing.T
	seed  uint64
	began time.Time
	bug   string // put in on purpose; "": none

	mu       sync.Mutex
	world    *outside
	inFlight map[string]map[string]bool // recipients by leg whose attempt is being made
	busy     map[string]int
	wall     time.Duration // offset of the wall clock
	story    []line
	problems []string
	healed   bool
}

// tell adds a line to the story. s.mu is held.
func (s *simulation) tell(format string, args ...any) {
	s.story = append(s.story, line{time.Since(s.began), fmt.Sprintf(format, args...)})
}

// text returns the story. What happened at the same moment is in the order of the words.
func (s *simulation) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.story, func(a, b line) int { return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.text, b.text)) })
	var b strings.Builder
	for _, l := range s.story {
		fmt.Fprintf(&b, "%14s  %s\n", l.at, l.text)
	}
	return b.String()
}

// verdict returns the story, after the promises that were broken in it.
func (s *simulation) verdict() string {
	return strings.Join(append(s.problems, s.text()), "\n")
}

// fault notes a broken promise. s.mu is held.
func (s *simulation) fault(format string, args ...any) {
	s.tell("BROKEN: "+format, args...)
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// draw returns a number in [0, n) that depends on the seed and the words alone: what happens at the same
// moment in two goroutines must not change it.
func (s *simulation) draw(n int, words ...any) int {
	h := fnv.New64a()
	fmt.Fprint(h, s.seed, words)
	return int(rand.New(rand.NewPCG(h.Sum64(), s.seed)).Uint64N(uint64(n)))
}

// simulate runs a seed to its end, on one processor and without a collector of garbage that interrupts it:
// the order of what several do at the same moment is then the same each time.
func simulate(t *testing.T, seed uint64, bug string) *simulation {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	s := &simulation{
		t: t, seed: seed, began: time.Now(), bug: bug, world: newOutside(), inFlight: map[string]map[string]bool{}, busy: map[string]int{},
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	mem := vfs.NewCrashableMem()
	var acked []string
	for life := 0; ; life++ {
		last := life == 3 || time.Since(s.began) > simMail
		var fresh []string
		mem, fresh = s.live(mem, rnd, life, last)
		acked = append(acked, fresh...)
		if last {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, to := range acked {
		got, told := s.world.got[to], s.world.notified[to]
		switch {
		case got == 0 && told == 0:
			s.fault("%s has got nothing, and nobody was notified", to)
		case got > 1+s.world.excused[to]:
			s.fault("%s has got it %d times, %d of them excused", to, got, s.world.excused[to])
		}
	}
	return s
}

// simRoute is byDomain, but for d0.example, which is the default core's: a message to it alone has no record
// of a leg.
func simRoute(env *mail.Envelope) []mail.Leg {
	legs := byDomain(env)
	for i := range legs {
		if legs[i].Destination == "d0.example" {
			legs[i].Destination = ""
			if len(legs) == 1 {
				return nil
			}
		}
	}
	return legs
}

// live is the life of a node between two losses of power. It returns the disk after it, and the recipients
// that were acknowledged before it.
func (s *simulation) live(mem *vfs.MemFS, rnd *rand.Rand, life int, last bool) (after *vfs.MemFS, acked []string) {
	d := &disk{s: s, mem: mem, at: time.Since(s.began) + time.Duration(rnd.IntN(1500))*time.Second, life: life, left: rnd.IntN(6), percent: rnd.IntN(101)}
	if last {
		d.at = 1000 * time.Hour
	}
	n := newRouted(s.t, errorfs.Wrap(mem, errorfs.InjectorFunc(d.inject)), simRoute, func(o *Options) {
		o.Courier, o.Concurrency, o.Ready = s, simWorkers, 4
		o.Lane = func(string) LaneOptions { return LaneOptions{Limit: simLimit} }
		o.Schedule = Schedule{Retry: []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute}, Expire: simExpire, Jitter: 0.2}
		o.Grace = func() time.Duration { return time.Second }
		o.Now = func() time.Time {
			s.mu.Lock()
			defer s.mu.Unlock()
			return time.Now().Add(s.wall)
		}
	})
	stop := s.sabotage(n, life)
	n.run()
	for event := 0; time.Since(s.began) < simMail && (last || !s.isCut(d)); event++ {
		acked = append(acked, s.event(n, rnd, d, fmt.Sprint(life, "-", event))...)
		for range 1 + rnd.IntN(4) {
			time.Sleep(time.Duration(rnd.IntN(60000)) * time.Millisecond)
			s.check(n)
		}
	}
	if !last && !s.isCut(d) {
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Second)
	}
	if last {
		s.heal(n)
	}
	stop()
	n.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if last {
		return nil, acked
	}
	if d.after == nil {
		d.cut()
	}
	s.world, s.inFlight, s.busy = d.world, map[string]map[string]bool{}, map[string]int{}
	return d.after, acked
}

func (s *simulation) isCut(d *disk) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.after != nil
}

// event is one thing that happens to a node. It returns the recipients that were acknowledged.
func (s *simulation) event(n *node, rnd *rand.Rand, d *disk, name string) (acked []string) {
	switch rnd.IntN(13) {
	case 0:
		s.mu.Lock()
		s.wall += time.Duration(rnd.IntN(7200)-3600) * time.Second
		s.tell("the clock is off by %s", s.wall)
		s.mu.Unlock()
	case 1:
		n.queue.FlushAll()
	case 2:
		n.queue.Reload()
	case 3:
		ids := n.stored()
		if len(ids) > 0 {
			id := ids[rnd.IntN(len(ids))]
			_, _ = n.queue.Hold("simulated", id) // it may have ended
			time.Sleep(time.Second)
			_, _ = n.queue.Release(id)
		}
	case 4:
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		left, err := n.queue.Drain(ctx)
		cancel()
		s.mu.Lock()
		s.tell("drained: %d legs are left, %v", left.Legs(), err)
		s.mu.Unlock()
	default:
		var to []mail.Recipient
		for r := range 1 + rnd.IntN(4) {
			to = append(to, mail.Recipient{Path: mail.Path{Local: fmt.Sprint("r", name, "-", r), Domain: fmt.Sprintf("d%d.example", rnd.IntN(4))}})
		}
		m := n.commit(func(e *mail.Envelope) { e.Arrived = n.queue.options.Now() }, to...)
		if !s.isCut(d) { // acknowledged in time
			for _, r := range to {
				acked = append(acked, r.Path.String())
			}
		}
		s.mu.Lock()
		s.tell("%s accepted for %d recipients", m.Envelope.ID, len(to))
		s.mu.Unlock()
		n.queue.Accepted(m)
	}
	return acked
}

// heal lets all destinations be good, and waits for the queue to become empty.
func (s *simulation) heal(n *node) {
	s.mu.Lock()
	s.healed = true
	s.tell("all destinations are good now")
	s.mu.Unlock()
	_, _ = n.queue.Release(n.stored()...) // what was held when the power went; it may have ended
	st := n.queue.Stats()
	for minute := 0; minute < 60 && st.Legs() != 0; minute++ {
		time.Sleep(time.Minute)
		s.check(n)
		st = n.queue.Stats()
	}
	synctest.Wait()
	st = n.queue.Stats() // reads the clock, which s.mu guards
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.Legs() != 0 {
		s.fault("an hour after all destinations were good, %+v is left", st)
	}
	if ids := n.stored(); len(ids) != 0 {
		s.fault("%d messages are left in the spool", len(ids))
	}
}

// check looks whether a leg is too old.
func (s *simulation) check(n *node) {
	synctest.Wait()
	q := n.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := q.clock.now()
	for _, e := range q.index.after(legID{}, 1<<20, nil) {
		if late := time.Duration(now - e.expires()); late > time.Minute && e.state != held && e.state != changed {
			s.fault("%v is %v over its end, in state %d", e.legID, late, e.state)
		}
		if e.state == waiting && e.lane.paused == nil && e.lane.busy < e.lane.limit && now-e.due > int64(2*time.Second) && q.attempts < q.options.Concurrency {
			s.fault("%v was due %v ago, and an attempt could be made", e.legID, time.Duration(now-e.due))
		}
	}
}

// seeds returns which seeds are simulated: those of ANYMX_SEEDS=FROM-TO, or the first 2,000. The race
// detector, which finds its faults in a few, is too slow for so many.
func seeds(t *testing.T) (from, to uint64) {
	text := os.Getenv("ANYMX_SEEDS")
	switch {
	case racing:
		return 0, 10
	case text == "":
		return 0, 2000
	}
	if n, err := fmt.Sscanf(text, "%d-%d", &from, &to); n != 2 || from >= to {
		t.Fatalf("ANYMX_SEEDS=%s: want FROM-TO: %v", text, err)
	}
	return from, to
}

// ANYMX_SEED=N simulates this one alone and prints its story.
func TestSimulation(t *testing.T) {
	if text := os.Getenv("ANYMX_SEED"); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("ANYMX_SEED: %v", err)
		}
		kit.Bubble(t, func(t *testing.T) { t.Log("\n" + simulate(t, seed, "").verdict()) })
		return
	}
	from, to := seeds(t)
	began := time.Now()
	for seed := from; seed < to; seed++ {
		kit.Bubble(t, func(t *testing.T) {
			if s := simulate(t, seed, ""); len(s.problems) > 0 {
				t.Fatalf("seed %d: %s", seed, s.verdict())
			}
		})
		if t.Failed() {
			t.Fatalf("ANYMX_SEED=%d go test -run 'TestSimulation$' ./edge/queue repeats it", seed)
		}
	}
	t.Logf("%d seeds, %s", to-from, time.Since(began).Round(time.Second))
}

// A seed tells the same story each time, but for one thing: the race detector has the scheduler draw lots.
func TestSimulationRepeats(t *testing.T) {
	if racing {
		return
	}
	for seed := range uint64(20) {
		var stories [2]string
		for i := range stories {
			kit.Bubble(t, func(t *testing.T) { stories[i] = simulate(t, seed, "").text() })
		}
		if stories[0] == stories[1] {
			continue
		}
		other := strings.Split(stories[1], "\n")
		for i, l := range strings.Split(stories[0], "\n") {
			if i >= len(other) || l != other[i] {
				t.Fatalf("seed %d, line %d: %q and %q", seed, i, l, other[min(i, len(other)-1)])
			}
		}
	}
}
