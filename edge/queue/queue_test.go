package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

// fakeCourier answers as a test wants it to, and remembers what it was asked.
type fakeCourier struct {
	mu     sync.Mutex
	calls  []call
	answer func(ctx context.Context, t *Attempt) ([]mail.Result, error)
	asked  int                            // calls of Reach
	reach  func(destination string) error // nil: all can be reached
}

func (c *fakeCourier) Reach(_ context.Context, destination string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.reach == nil {
		return nil
	}
	return c.reach(destination)
}

// questions returns how often it was asked whether a destination is back.
func (c *fakeCourier) questions() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

// call is one try as the courier saw it.
type call struct {
	id      mail.ID
	to      string // the destination
	sender  mail.Path
	pending []int
	attempt int
	at      time.Time
	body    string
}

func (c *fakeCourier) Deliver(ctx context.Context, t *Attempt) ([]mail.Result, error) {
	b, err := t.Message.Body()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(b)
	if err := errors.Join(err, b.Close()); err != nil {
		return nil, err
	}
	c.mu.Lock()
	env := t.Message.Envelope
	c.calls = append(c.calls, call{env.ID, t.Destination, env.Sender, slices.Clone(t.Pending), t.Number, time.Now(), string(text)})
	answer := c.answer
	c.mu.Unlock()
	if answer == nil {
		return deliver(t), nil
	}
	return answer(ctx, t)
}

func (c *fakeCourier) set(answer func(ctx context.Context, t *Attempt) ([]mail.Result, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = answer
}

// of lists the attempts made for id.
func (c *fakeCourier) of(id mail.ID) []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []call
	for _, call := range c.calls {
		if call.id == id {
			all = append(all, call)
		}
	}
	return all
}

// bounces lists the notifications that the courier was given.
func (c *fakeCourier) bounces() []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []call
	for _, call := range c.calls {
		if call.sender.IsNull() {
			all = append(all, call)
		}
	}
	return all
}

func (c *fakeCourier) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.calls)
}

// deliver takes all.
func deliver(t *Attempt) []mail.Result {
	var all []mail.Result
	for _, n := range t.Pending {
		all = append(all, mail.Result{Recipient: n, Reply: mail.Reply{Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: "ok"}, Remote: "core[192.0.2.9]:25"})
	}
	return all
}

var (
	tempFail = &mail.Failure{Reply: mail.Reply{Code: 451, Enhanced: mail.Enhanced{4, 2, 1}, Text: "not now"}, Enhanced: mail.Enhanced{4, 2, 1}, Command: "RCPT", Remote: "core[192.0.2.9]:25"}
	permFail = &mail.Failure{Reply: mail.Reply{Code: 550, Enhanced: mail.Enhanced{5, 1, 1}, Text: "no such user"}, Enhanced: mail.Enhanced{5, 1, 1}, Permanent: true, Command: "RCPT", Remote: "core[192.0.2.9]:25"}
)

// refuse fails all.
func refuse(t *Attempt, f *mail.Failure) []mail.Result {
	var all []mail.Result
	for _, n := range t.Pending {
		all = append(all, mail.Result{Recipient: n, Failure: f})
	}
	return all
}

// always is a courier's answer of one failure; notifications are delivered.
func always(f *mail.Failure) func(context.Context, *Attempt) ([]mail.Result, error) {
	return func(_ context.Context, t *Attempt) ([]mail.Result, error) {
		if t.Message.Envelope.Sender.IsNull() {
			return deliver(t), nil
		}
		return refuse(t, f), nil
	}
}

// node is a queue on a real spool on a file system in memory.
type node struct {
	t       *testing.T
	fs      vfs.FS
	spool   *spool.Spool
	queue   *Queue
	courier *fakeCourier
	stop    context.CancelFunc
	done    chan error
}

// newNode opens spool and queue on fs; nil: an empty one. Run is not called.
func newNode(t *testing.T, fs vfs.FS, change func(*Options)) *node {
	t.Helper()
	return newRouted(t, fs, nil, change)
}

// newRouted is newNode with a route for new messages.
func newRouted(t *testing.T, fs vfs.FS, route func(*mail.Envelope) []mail.Leg, change func(*Options)) *node {
	t.Helper()
	if fs == nil {
		fs = vfs.NewCrashableMem()
	}
	s, err := spool.Open(spool.Options{
		Dir: "spool", FS: fs, Memory: 1 << 20,
		DiskFree: func(string) (int64, error) { return 1 << 40, nil }, Route: route, IDs: mail.NewIDs(1),
	})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, fs: fs, spool: s, courier: &fakeCourier{}}
	o := Options{
		Spool: s, Courier: n.courier, Concurrency: 2, Hostname: func() string { return "mx.example.net" }, Node: "ams1",
		Schedule: Schedule{DelayNotice: 4 * time.Hour},
		Rand:     func() float64 { return 0.5 }, ReturnFull: 1 << 20,
	}
	if change != nil {
		change(&o)
	}
	if n.queue, err = New(o); err != nil {
		t.Fatal(err)
	}
	return n
}

// run starts the queue; close ends it, and the spool.
func (n *node) run() *node {
	ctx, cancel := context.WithCancel(context.Background())
	n.stop, n.done = cancel, make(chan error, 1)
	go func() { n.done <- n.queue.Run(ctx) }()
	return n
}

func (n *node) halt() {
	n.t.Helper()
	if n.stop != nil {
		n.stop()
		if err := <-n.done; err != nil {
			n.t.Errorf("Run: %v", err)
		}
		n.stop = nil
	}
}

func (n *node) close() {
	n.t.Helper()
	n.halt()
	if err := n.spool.Close(); err != nil {
		n.t.Errorf("spool: %v", err)
	}
}

func recipient(local string, notify mail.Notify) mail.Recipient {
	return mail.Recipient{Path: mail.Path{Local: local, Domain: "example.net"}, Notify: notify}
}

// commit stores a message, to the given recipients or to one.
func (n *node) commit(change func(*mail.Envelope), to ...mail.Recipient) *spool.Message {
	n.t.Helper()
	if len(to) == 0 {
		to = []mail.Recipient{recipient("b", 0)}
	}
	env := &mail.Envelope{Arrived: time.Now(), Sender: mail.Path{Local: "a", Domain: "example.com"}, Recipients: to}
	if change != nil {
		change(env)
	}
	d, err := n.spool.BeginDraft()
	if err != nil {
		n.t.Fatal(err)
	}
	// What is delivered differs from what is stored.
	const forged = "Authentication-Results: forged\r\n"
	env.Front, env.Cuts = []byte("Received: x\r\n"), []mail.Span{{Start: 0, End: int64(len(forged))}}
	fmt.Fprintf(d, forged+"Subject: %s\r\n\r\nbody of it\r\n", d.ID())
	m, err := d.Commit(env)
	if err != nil {
		n.t.Fatal(err)
	}
	return m
}

// accept stores a message and gives it to the queue.
func (n *node) accept(to ...mail.Recipient) mail.ID {
	n.t.Helper()
	m := n.commit(nil, to...)
	n.queue.Accepted(m)
	return m.Envelope.ID
}

// want compares the queue's figures.
func (n *node) want(active, waiting, held int) {
	n.t.Helper()
	if s := n.queue.Stats(); s.Active != active || s.Waiting != waiting || s.Held != held {
		n.t.Fatalf("%d active, %d waiting, %d held; want %d, %d, %d", s.Active, s.Waiting, s.Held, active, waiting, held)
	}
}

// empty wants nothing in queue and spool.
func (n *node) empty() {
	n.t.Helper()
	n.want(0, 0, 0)
	if s := n.queue.Stats(); s.Bytes != 0 || !s.Oldest.IsZero() {
		n.t.Fatalf("empty, but %+v", s)
	}
	if ids := n.stored(); len(ids) != 0 {
		n.t.Fatalf("still in the spool: %v", ids)
	}
	n.queue.mu.Lock()
	defer n.queue.mu.Unlock()
	if len(n.queue.pending)+n.queue.owed != 0 {
		n.t.Fatalf("left behind: %v, %d", n.queue.pending, n.queue.owed)
	}
}

func (n *node) stored() []mail.ID {
	n.t.Helper()
	var ids []mail.ID
	if err := n.spool.Each(func(e spool.Entry) error { ids = append(ids, e.ID); return nil }); err != nil {
		n.t.Fatal(err)
	}
	return ids
}

func (n *node) state(id mail.ID) spool.State {
	n.t.Helper()
	_, leg, err := n.spool.LoadLeg(id, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	return leg.State
}

func TestDeliveredAtOnce(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		id := n.accept(recipient("b", 0), recipient("c", 0))
		synctest.Wait()
		calls := n.courier.of(id)
		if len(calls) != 1 || calls[0].attempt != 1 || !slices.Equal(calls[0].pending, []int{0, 1}) || !strings.Contains(calls[0].body, "body of it") {
			t.Fatalf("tries: %+v", calls)
		}
		n.empty()
	})
}

// timeline is the line of the package comment, with another end.
func timeline(end time.Duration) []time.Duration {
	all := []time.Duration{0}
	at := time.Duration(0)
	for _, wait := range DefaultRetry {
		at += wait
		all = append(all, at)
	}
	for at += time.Hour; at < end; at += time.Hour {
		all = append(all, at)
	}
	return append(all, end)
}

func TestTryTimeline(t *testing.T) {
	const life = 6 * time.Hour
	want := timeline(life)
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, func(o *Options) { o.Schedule.Expire = life }).run()
		defer n.close()
		n.courier.set(always(tempFail))
		start := time.Now()
		id := n.accept()
		time.Sleep(life + time.Hour)
		synctest.Wait()
		var got []time.Duration
		for i, c := range n.courier.of(id) {
			got = append(got, c.at.Sub(start))
			if c.attempt != i+1 {
				t.Errorf("attempt %d calls itself %d", i+1, c.attempt)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("tried at %v\nwant %v", got, want)
		}
		bounces := n.courier.bounces()
		if len(bounces) != 1 || !strings.Contains(bounces[0].body, "Status: 4.4.7\r\n") || !strings.Contains(bounces[0].body, "Diagnostic-Code: smtp; 451 4.2.1 not now") {
			t.Fatalf("at the end: %v", bounces)
		}
		if at := bounces[0].at.Sub(start); at != life {
			t.Errorf("the notification went out at %v", at)
		}
		n.empty()
	})
}

var discard = slog.New(slog.DiscardHandler)
