package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/mail"
	"anymx/edge/maillog"
	"anymx/edge/spool"
)

// Options say what a queue works on, and how.
type Options struct {
	Spool       *spool.Spool
	Courier     Courier
	Concurrency int // tries at a time; 0 means 16
	Schedule    Schedule
	// Ring is how many messages may wait with their body in memory for a free
	// worker; more wait in the spool alone. 0 means 1024. The octets are
	// bounded by the spool.
	Ring int
	// Grace is how long Run waits for tries in flight when it has to end,
	// before it cancels them; read when Run ends. nil: 20s.
	Grace func() time.Duration
	// ReturnFull is the size in octets up to which a failure notification
	// returns the whole message to a sender who asked for it (RFC 3461 RET).
	// 0: never, the header alone.
	ReturnFull int64

	// Hostname returns the host name of notifications: Reporting-MTA, and the domain of From. It is
	// called for each.
	Hostname func() string
	Node     string // told in them, so that people know where to look; "": not told

	// Now is the wall clock, which may be set at any moment. nil: time.Now.
	Now     func() time.Time
	Rand    func() float64 // of [0, 1), safe for many goroutines; nil: math/rand/v2
	MailLog *maillog.Log   // nil: none
	Log     *slog.Logger   // nil: none
	Metrics prometheus.Registerer
}

func (o *Options) fill() error {
	if o.Spool == nil || o.Courier == nil || o.Hostname == nil {
		return errors.New("spool, courier or hostname is missing")
	}
	if err := o.Schedule.fill(); err != nil {
		return err
	}
	if o.Concurrency == 0 {
		o.Concurrency = 16
	}
	if o.Ring == 0 {
		o.Ring = 1024
	}
	if o.Grace == nil {
		o.Grace = func() time.Duration { return 20 * time.Second }
	}
	if o.Concurrency < 0 || o.Ring < 0 || o.ReturnFull < 0 {
		return errors.New("concurrency, ring or size is negative")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Queue holds all messages that were accepted and have not ended. It is safe
// for use by many goroutines.
type Queue struct {
	o       Options
	clock   clock
	metrics *metrics
	poke    chan struct{} // one slot: the pacer has to look again
	stopped chan struct{} // closed when Run takes up no more

	mu      sync.Mutex
	work    sync.Cond // a worker may find something to do
	roll    roll
	ring    ring
	agenda  agenda
	overdue []*entry    // too old, to be ended without a try; checked again when taken
	bytes   int64       // of all messages
	count   [places]int // entries in each place
	idle    int         // workers that wait for something to do
	turn    bool        // the agenda's, where both have something
	paused  *pause      // nil: mail flows
	armed   int64       // when the pacer looks next, by clock
	wishes  map[mail.ID]wish
	drains  int       // calls of Drain that wait
	owed    int       // entries that they wait for
	paid    sync.Cond // owed has come to 0

	running, stopping bool
}

// job is what a worker takes.
type job struct {
	entry   *entry
	message *spool.Message // nil: to be loaded
	probe   bool           // it finds out whether the courier is back
	overdue bool           // it has grown too old, and is not tried
}

// New makes a queue of what an earlier run has left in the spool, which takes
// some seconds for a million messages. From then on each message that is
// committed must be given to Accepted. It fails for options that make no sense,
// if the spool can't be read, and if the queue's metrics are registered
// already.
func New(o Options) (*Queue, error) {
	if err := o.fill(); err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	q := &Queue{
		o: o, clock: newClock(o.Now), poke: make(chan struct{}, 1), stopped: make(chan struct{}), armed: math.MaxInt64,
		wishes: make(map[mail.ID]wish),
	}
	q.ring.jobs = make([]job, o.Ring)
	q.work.L, q.paid.L = &q.mu, &q.mu
	err := q.takeUp()
	if err == nil {
		q.metrics, err = newMetrics(q, o.Metrics)
	}
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	return q, nil
}

// Run has messages tried until ctx ends. Then it takes up no more, waits for
// the tries in flight, for Options.Grace at most before it cancels them, and
// returns nil. What was not delivered is in the spool. A queue runs once.
func (q *Queue) Run(ctx context.Context) error {
	q.mu.Lock()
	if q.running {
		q.mu.Unlock()
		return errors.New("queue: it runs already")
	}
	q.running = true
	q.mu.Unlock()

	tries, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	pacing, stopPacing := context.WithCancel(context.Background())
	var workers, pacer sync.WaitGroup
	for range q.o.Concurrency {
		workers.Go(func() { q.works(tries) })
	}
	pacer.Go(func() { q.pace(pacing) })

	<-ctx.Done()
	q.stop()
	stopPacing()
	pacer.Wait()
	grace := time.AfterFunc(q.o.Grace(), cancel)
	workers.Wait()
	grace.Stop()
	q.metrics.unregister()
	return nil
}

// stop has the workers end after their tries, and gives bodies back.
func (q *Queue) stop() {
	q.mu.Lock()
	q.stopping = true
	close(q.stopped)
	q.work.Broadcast()
	var dropped []*spool.Message
	for {
		j, ok := q.ring.pop()
		if !ok {
			break
		}
		if j.entry.place == ready {
			q.wait(j.entry)
		}
		dropped = append(dropped, j.message)
	}
	q.mu.Unlock()
	for _, m := range dropped {
		m.Release()
	}
}

// takeUp enters what an earlier run has left.
func (q *Queue) takeUp() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	err := q.o.Spool.Each(func(s spool.Entry) error {
		e := newEntry(s.ID, s.Size, q.arrival(s.Arrived, &s.State))
		e.attempts = uint16(min(max(s.State.Attempts, 1), math.MaxUint16))
		if !s.State.Due.IsZero() {
			e.due = q.clock.dueAt(s.State.Due, q.o.Schedule.longest())
		}
		q.enter(e)
		if s.State.Held {
			q.move(e, held)
		} else {
			q.wait(e)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("messages of an earlier run: %w", err)
	}
	if q.roll.n > 0 {
		q.o.Log.Info("queue: took up messages of an earlier run", "messages", q.roll.n)
	}
	return nil
}

// newEntry makes the entry of a message that arrived, and is due, at the clock's reading at.
func newEntry(id mail.ID, size, at int64) *entry {
	return &entry{id: id, arrived: at, due: at, size: size}
}

// arrival returns the clock's reading at which a message arrived, as far as its age is known: arrived
// and the times in st are the wall clock's, which may have been set since.
func (q *Queue) arrival(arrived time.Time, st *spool.State) int64 {
	seen := st.LastAttempt
	if seen.IsZero() {
		seen = arrived
	}
	return q.clock.now() - int64(q.o.Schedule.Age(st.Waited, q.o.Now().Sub(seen)))
}

// Accepted takes a message that was just committed, to be tried at once. It
// never blocks: where nobody is free, and the ring is full, the body's memory
// is given back, and the message is read from the spool when its turn comes.
func (q *Queue) Accepted(m *spool.Message) {
	e := newEntry(m.Envelope.ID, m.Envelope.Size, q.arrival(m.Envelope.Arrived, &spool.State{}))
	q.mu.Lock()
	q.enter(e)
	if !q.stopping && q.ring.push(job{entry: e, message: m}) {
		q.move(e, ready)
		wake := q.idle > 0 && q.flows()
		q.mu.Unlock()
		if wake {
			q.work.Signal()
		}
		return
	}
	q.wait(e)
	q.mu.Unlock()
	m.Release()
}

// The methods below are called with q.mu held.

// enter puts e in the roll.
func (q *Queue) enter(e *entry) {
	q.roll.add(e)
	q.bytes += e.size
	if q.drains > 0 {
		q.owe(e)
	}
}

// move says that e is in place p now.
func (q *Queue) move(e *entry, p place) {
	q.count[e.place]--
	q.count[p]++
	e.place = p
}

// wait puts e in the agenda.
func (q *Queue) wait(e *entry) {
	q.move(e, waiting)
	q.agenda.add(e)
	if q.idle > 0 {
		q.arm()
	}
}

// park keeps e until somebody releases it.
func (q *Queue) park(e *entry) {
	q.move(e, held)
	q.pay(e)
}

// forget ends e, which stands nowhere but in the roll.
func (q *Queue) forget(e *entry) {
	q.roll.remove(e)
	q.bytes -= e.size
	q.move(e, gone)
	q.pay(e)
}

// ring holds jobs that came with their body, first in, first out.
type ring struct {
	jobs    []job
	head, n int
}

func (r *ring) push(j job) bool {
	if r.n == len(r.jobs) {
		return false
	}
	r.jobs[(r.head+r.n)%len(r.jobs)] = j
	r.n++
	return true
}

func (r *ring) pop() (job, bool) {
	if r.n == 0 {
		return job{}, false
	}
	j := r.jobs[r.head]
	r.jobs[r.head] = job{}
	r.head = (r.head + 1) % len(r.jobs)
	r.n--
	return j, true
}
