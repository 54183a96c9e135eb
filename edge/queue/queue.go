package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/maillog"
	"anymx/edge/spool"
)

// Options are the settings of a queue.
type Options struct {
	Spool       *spool.Spool
	Courier     Courier
	Concurrency int // attempts at a time, over all lanes; 0 means 16
	// Lane returns the options of the lane of a destination. It is called with the queue's lock held,
	// when a lane gets its first leg and by Reload. nil: the zero LaneOptions for each.
	Lane     func(destination string) LaneOptions
	Schedule Schedule
	// Ready is how many messages may wait for a free worker with their body in memory; more wait in the
	// spool alone. 0 means 1024. The bytes are bounded by the spool.
	Ready int
	// Grace is how long Run waits for attempts in flight when it has to end, before it cancels them;
	// read when Run ends. nil: 20s.
	Grace func() time.Duration
	// ReturnFull is the size in bytes up to which a failure notification returns the whole message to a
	// sender who asked for it (RFC 3461 RET). 0: never, only the header.
	ReturnFull int64

	// Hostname returns the host name of notifications: Reporting-MTA, and the domain of From. It is
	// called for each.
	Hostname func() string
	Node     string // named in them, so that people know where to look; "": left out

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
	if o.Ready == 0 {
		o.Ready = 1024
	}
	if o.Grace == nil {
		o.Grace = func() time.Duration { return 20 * time.Second }
	}
	if o.Concurrency < 0 || o.Ready < 0 || o.ReturnFull < 0 {
		return errors.New("concurrency, ready or size is negative")
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

// Queue holds all legs of accepted messages that have not ended. It is safe for use by many goroutines.
type Queue struct {
	options Options
	clock   clock
	metrics *metrics
	poke    chan struct{} // one slot: the pacer has to look again
	stopped chan struct{} // closed when Run takes up nothing more

	mu       sync.Mutex
	work     sync.Cond // a worker may find something to do
	index    index
	expiry   heap[*entry, byExpiry] // all but those that are held or with an operator's request
	lanes    map[string]*lane
	turns    fifo[*lane]         // lanes with something to do
	wakes    heap[*lane, byWake] // lanes that will have
	bodies   int                 // jobs in ready queues
	messages int
	bytes    int64       // of all messages
	count    [states]int // entries in each state
	attempts int         // in flight
	idle     int         // workers that wait for something to do
	workers  []*worker
	tooOld   fifo[*entry] // legs to end, unless they have changed their state since
	oldTurn  bool         // the last job was of these: the lanes are next
	armed    int64        // when the pacer looks next, by clock
	pending  map[legID]operation
	drains   int       // calls of Drain that wait
	owed     int       // entries that they wait for
	paid     sync.Cond // owed has come to 0
	spawn    func()    // starts another worker; nil before Run and after it

	running, stopping bool
}

// job is what a worker does next.
type job struct {
	entry    *entry
	message  *spool.Message // nil: to be loaded
	schedule *Schedule      // of its lane, when the job began
	expired  bool           // it has grown too old, and no attempt is made
	reach    *lane          // the pause of this lane is over: ask the courier. entry is nil
}

// New makes a queue of what an earlier run has left in the spool, which takes seconds for a million
// legs. From then on each message that is committed must be given to Accepted. It fails for options
// that make no sense, if the spool can't be read, and if the queue's metrics are registered already.
func New(o Options) (*Queue, error) {
	if err := o.fill(); err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	q := &Queue{
		options: o, clock: newClock(o.Now), poke: make(chan struct{}, 1), stopped: make(chan struct{}), armed: math.MaxInt64,
		lanes: make(map[string]*lane), pending: make(map[legID]operation),
	}
	q.work.L, q.paid.L = &q.mu, &q.mu
	err := q.recoverLegs()
	if err == nil {
		q.metrics, err = newMetrics(q, o.Metrics)
	}
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	return q, nil
}

// Run makes attempts until ctx ends. Then it takes up nothing more, waits for the attempts in flight,
// for Options.Grace at most before it cancels them, and returns nil. What was not delivered is in the
// spool. A queue runs once.
func (q *Queue) Run(ctx context.Context) error {
	q.mu.Lock()
	if q.running {
		q.mu.Unlock()
		return errors.New("queue: it runs already")
	}
	q.running = true
	attempts, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	pacing, stopPacing := context.WithCancel(context.Background())
	var workers, pacer sync.WaitGroup
	q.spawn = func() {
		w := newWorker(attempts)
		q.workers = append(q.workers, w)
		workers.Go(func() { q.runWorker(w) })
	}
	q.spawn()
	q.mu.Unlock()
	pacer.Go(func() { q.pace(pacing) })

	<-ctx.Done()
	q.stop()
	stopPacing()
	pacer.Wait()
	grace := time.AfterFunc(q.options.Grace(), cancel)
	workers.Wait()
	grace.Stop()
	q.metrics.unregister()
	return nil
}

// stop has the workers end after their attempts, and gives bodies back.
func (q *Queue) stop() {
	q.mu.Lock()
	q.stopping = true
	close(q.stopped)
	q.spawn = nil
	q.work.Broadcast()
	var dropped []*spool.Message
	for _, l := range q.lanes {
		dropped = append(dropped, q.emptyReady(l)...)
	}
	q.mu.Unlock()
	for _, m := range dropped {
		m.Release()
	}
}

// emptyReady moves what is in a lane's ready queue to the heap, and returns the messages. q.mu is held.
func (q *Queue) emptyReady(l *lane) (dropped []*spool.Message) {
	for {
		j, ok := l.ready.pop()
		if !ok {
			return dropped
		}
		q.bodies--
		if j.entry.state == ready {
			q.wait(j.entry)
		}
		dropped = append(dropped, j.message)
	}
}

// Reload reads the options of all lanes again.
func (q *Queue) Reload() {
	q.mu.Lock()
	defer q.mu.Unlock()
	moved := false // the ends of legs have
	for _, name := range q.destinations() {
		l := q.lanes[name]
		before := l.schedule.Expire
		q.setOptions(l)
		moved = moved || l.schedule.Expire != before
		q.arrange(l)
	}
	if moved {
		q.expiry.sort()
	}
	q.wakeWorker()
}

// newEntry makes the entry of a leg that arrived, and is due, at the clock's reading at.
func newEntry(id legID, size, at int64) *entry {
	return &entry{legID: id, arrived: at, due: at, size: size}
}

// arrival returns the clock's reading at which a leg arrived, as far as its age is known: arrived and
// the times in st are the wall clock's, which may have been set since.
func (q *Queue) arrival(l *lane, arrived time.Time, st *spool.State) int64 {
	seen := st.LastAttempt
	if seen.IsZero() {
		seen = arrived
	}
	return q.clock.now() - int64(l.schedule.Age(st.Waited, q.options.Now().Sub(seen)))
}

// Accepted takes a message that was just committed, to be attempted at once. It never blocks: where
// no worker is free, and too many bodies are in memory, the body's memory is given back, and the
// message is read from the spool when its turn comes.
func (q *Queue) Accepted(m *spool.Message) {
	q.mu.Lock()
	body := m // goes with the first leg that a worker can have at once
	for i := range m.Legs {
		if q.accept(m, &m.Legs[i], body) {
			body = nil
		}
	}
	q.mu.Unlock()
	if body != nil {
		body.Release()
	}
}

// accept enters one leg of m. It reports whether it has put body into the ready queue. q.mu is held.
func (q *Queue) accept(m *spool.Message, leg *spool.Leg, body *spool.Message) bool {
	l := q.lane(leg.Destination)
	e := newEntry(legID{m.Envelope.ID, uint16(leg.Number)}, m.Envelope.Size, q.arrival(l, m.Envelope.Arrived, &leg.State))
	if len(m.Legs) > 1 {
		e.flags |= several
	}
	domain := ""
	if l.half > 0 {
		domain = firstDomain(m, leg.Recipients)
	}
	l.join(e, domain)
	q.enter(e)
	if body == nil || q.stopping || q.bodies >= q.options.Ready {
		q.wait(e)
		return false
	}
	q.bodies++
	l.ready.push(job{entry: e, message: body})
	q.move(e, ready)
	q.expiry.add(e)
	q.arrange(l)
	if l.queued {
		q.wakeWorker()
	}
	return true
}

// The methods below are called with q.mu held.

// wakeWorker has a worker look for something to do.
func (q *Queue) wakeWorker() {
	switch {
	case q.idle > 0:
		q.work.Signal()
	case q.spawn != nil && len(q.workers) <= q.options.Concurrency: // one more, for legs that are too old
		q.spawn()
	}
}

// enter adds e, which belongs to a lane, to the index.
func (q *Queue) enter(e *entry) {
	q.index.add(e)
	if q.index.alone(e) {
		q.messages++
		q.bytes += e.size
	}
	if q.drains > 0 {
		q.owe(e)
	}
}

// move sets the state of e.
func (q *Queue) move(e *entry, s state) {
	if e.state == ready {
		e.lane.prompt--
	}
	if s == ready {
		e.lane.prompt++
	}
	q.count[e.state]--
	q.count[s]++
	e.state = s
}

// wait puts e into the heap of its lane.
func (q *Queue) wait(e *entry) {
	q.move(e, waiting)
	e.lane.due.add(e)
	if !q.expiry.has(e) {
		q.expiry.add(e)
	}
	q.arrange(e.lane)
	if e.lane.queued {
		q.wakeWorker()
	}
}

// withdraw takes e out of the heap and the expiry, for a state in which neither applies. What is in a
// ready queue or blocked is dropped when its turn comes.
func (q *Queue) withdraw(e *entry) {
	e.lane.due.remove(e)
	q.expiry.remove(e)
}

// park keeps e until somebody releases it.
func (q *Queue) park(e *entry) {
	q.withdraw(e)
	q.move(e, held)
	q.pay(e)
}

// forget ends e.
func (q *Queue) forget(e *entry) {
	q.withdraw(e)
	if q.index.alone(e) {
		q.messages--
		q.bytes -= e.size
	}
	q.index.remove(e)
	q.move(e, gone)
	q.pay(e)
	e.lane.leave(e, q.clock.now())
	q.drop(e.lane)
}

// ended counts down after the job of e.
func (q *Queue) ended(e *entry, attempt bool) {
	l := e.lane
	if attempt {
		q.attempts--
	}
	l.busy--
	if s := e.share; s != nil {
		s.busy--
		l.unblock(s)
	}
	q.arrange(l)
	if q.turns.n > 0 {
		q.wakeWorker()
	}
	q.drop(l)
}

// destinations returns the names of all lanes, sorted.
func (q *Queue) destinations() []string {
	names := make([]string, 0, len(q.lanes))
	for name := range q.lanes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
