// Package controltest is a node for tests of code that uses the control socket: a queue in memory
// with a few realistic messages, which can be listed, shown and changed, and a function that serves
// it on a real socket. It stores nothing and sends nothing.
package controltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// Now is the time of the sample messages and the sample status.
var Now = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

// ID returns the id of the nth sample message, by arrival.
func ID(n int) mail.ID { return mail.ID{1, 0x9c, 0xeb, 0, 0, byte(n >> 8), byte(n), 7, 0x5a, 0xa5} }

// Node is a node in memory. Its fields are set before it is used.
type Node struct {
	State    api.Status
	ReadyErr error
	// ReadyHook, if set, replaces ReadyErr as the result of Ready.
	ReadyHook func(context.Context) error
	ReloadErr error
	Reloads   api.Reloaded
	// DrainErr is the result of Drain and Resume, if set. OnDrain and OnResume, if set, change
	// State after the request was accepted, OnStatus before each Status.
	DrainErr                    error
	SelfTestErr                 error // result of SelfTest, if set
	OnDrain, OnResume, OnStatus func(*api.Status)
	// Orders and Resumes are the drains and resumes that reached the node.
	Orders  []api.DrainRequest
	Resumes int
	// Scan bounds how many messages one List examines; 0: no bound.
	Scan int
	// Waits is why the default core gets nothing, in a summary.
	Waits string
	// Broken is the error of List, Summary and Show, if set; Change fails too.
	Broken error
	// Sick is a message that can't be changed.
	Sick mail.ID

	// Spool is the result of CheckSpool. SetSpoolAside makes it sound.
	Spool api.SpoolReport

	mu       sync.Mutex
	messages []api.QueueDetail // by ID
}

// New returns a running node with the sample messages.
func New() *Node {
	n := &Node{State: sampleStatus(), Reloads: api.Reloaded{Changed: []string{"ingress.max_connections"}},
		Spool: api.SpoolReport{Dir: "/var/lib/anymx/spool", Open: true, Messages: 5, Bytes: 41_000, BodyFiles: 1, BodyBytes: 400_000}}
	for _, d := range sampleMessages() {
		n.Add(d)
	}
	return n
}

// Add puts a message into the queue.
func (n *Node) Add(d api.QueueDetail) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.messages = append(n.messages, d)
	slices.SortFunc(n.messages, func(a, b api.QueueDetail) int { return bytes.Compare(a.ID[:], b.ID[:]) })
}

// CheckSpool returns n.Spool.
func (n *Node) CheckSpool(context.Context) (api.SpoolReport, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.Spool, n.Broken
}

// SetSpoolAside removes the problems.
func (n *Node) SetSpoolAside(context.Context) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Broken != nil || n.Spool.Orphans == 0 && n.Spool.Open {
		return "", n.Broken
	}
	n.Spool = api.SpoolReport{Dir: n.Spool.Dir, Open: true}
	return "/var/lib/anymx/spool-aside/20260314T092653Z", nil
}

// ExportSpool writes nothing, and returns what a node with a spool set aside would.
func (n *Node) ExportSpool(_ context.Context, each func(api.SpoolMessage)) (api.SpoolExport, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Broken != nil {
		return api.SpoolExport{}, n.Broken
	}
	if n.Spool.Open {
		return api.SpoolExport{To: []string{}}, nil
	}
	each(api.SpoolMessage{ID: ID(1).String(), Bytes: 10_400})
	each(api.SpoolMessage{ID: ID(2).String(), Bytes: 400_000, NoEnvelope: true})
	return api.SpoolExport{To: []string{"/var/lib/anymx/spool-export/20260314T092653Z"}, Messages: 1, Orphans: 1, Bytes: 410_400}, nil
}

// Clear empties the queue.
func (n *Node) Clear() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.messages = nil
}

// Len returns the number of messages in the queue.
func (n *Node) Len() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.messages)
}

// Status implements control.Node.
func (n *Node) Status(context.Context) api.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.OnStatus != nil {
		n.OnStatus(&n.State)
	}
	s := n.State
	s.Queue.Active, s.Queue.Waiting, s.Queue.Held, s.Queue.Oldest = 0, 0, 0, time.Time{}
	for _, m := range n.messages {
		switch m.State {
		case api.Active:
			s.Queue.Active++
		case api.Waiting:
			s.Queue.Waiting++
		case api.Held:
			s.Queue.Held++
		}
		if s.Queue.Oldest.IsZero() || m.Arrived.Before(s.Queue.Oldest) {
			s.Queue.Oldest = m.Arrived
		}
	}
	return s
}

// Ready implements control.Node.
func (n *Node) Ready(ctx context.Context) error {
	if n.ReadyHook != nil {
		return n.ReadyHook(ctx)
	}
	return n.ReadyErr
}

// Reload implements control.Node.
func (n *Node) Reload(context.Context) (api.Reloaded, error) { return n.Reloads, n.ReloadErr }

// Drain implements control.Node. The drain does not progress by itself: tests change State with
// Set.
func (n *Node) Drain(_ context.Context, r api.DrainRequest) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Orders = append(n.Orders, r)
	if n.DrainErr != nil {
		return n.DrainErr
	}
	if n.State.Phase == api.Running {
		n.State.Phase, n.State.Since = api.Draining, Now
		n.State.Drain = &api.DrainStatus{Reason: r.Reason, Began: Now, Until: r.Until, Steps: []api.StepStatus{
			{Step: api.StepGraceful, Began: Now, Limit: api.Seconds(10 * time.Second)},
		}}
	} else if n.State.Drain != nil && r.Until == "" {
		n.State.Drain.Until = ""
	}
	if n.OnDrain != nil {
		n.OnDrain(&n.State)
	}
	return nil
}

// SelfTest implements control.Node.
func (n *Node) SelfTest(context.Context) (api.SelfTest, error) {
	return api.SelfTest{Listeners: []api.SelfTestListener{
		{Address: "[::]:25", ID: ID(900), Bytes: 512, Took: api.Seconds(3 * time.Millisecond)},
	}}, n.SelfTestErr
}

// Resume implements control.Node.
func (n *Node) Resume(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Resumes++
	if n.DrainErr != nil {
		return n.DrainErr
	}
	n.State.Phase, n.State.Since, n.State.Drain = api.Running, Now, nil
	if n.OnResume != nil {
		n.OnResume(&n.State)
	}
	return nil
}

// List implements control.Node.
func (n *Node) List(_ context.Context, q api.QueueQuery) (api.QueuePage, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Broken != nil {
		return api.QueuePage{}, n.Broken
	}
	if q.Limit < 1 || q.Limit > api.MaxPage {
		return api.QueuePage{}, fmt.Errorf("limit %d reached the node", q.Limit)
	}
	var page api.QueuePage
	var last mail.ID
	scanned := 0
	for i := range n.messages {
		m := &n.messages[i]
		if bytes.Compare(m.ID[:], q.After[:]) <= 0 {
			continue
		}
		if len(page.Items) == q.Limit || n.Scan > 0 && scanned == n.Scan {
			page.Next = last
			break
		}
		scanned++
		last = m.ID
		if q.Match(&m.QueueItem, func() []mail.Path { return paths(m) }) {
			page.Items = append(page.Items, m.QueueItem)
		}
	}
	return page, nil
}

func paths(m *api.QueueDetail) []mail.Path {
	var to []mail.Path
	for _, r := range m.To {
		to = append(to, r.Address)
	}
	return to
}

// Summary implements control.Node: all messages go to the default core.
func (n *Node) Summary(context.Context, int) (api.QueueSummary, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Broken != nil {
		return api.QueueSummary{}, n.Broken
	}
	if len(n.messages) == 0 {
		return api.QueueSummary{}, nil
	}
	r := api.SummaryRow{Waits: n.Waits}
	for i := range n.messages {
		m := &n.messages[i]
		r.Legs++
		r.Bytes += m.Size
		switch m.State {
		case api.Active:
			r.Active++
		case api.Waiting:
			r.Waiting++
		case api.Held:
			r.Held++
		}
		if r.Oldest.IsZero() || m.Arrived.Before(r.Oldest) {
			r.Oldest = m.Arrived
		}
		if !m.NextAttempt.IsZero() && (r.Next.IsZero() || m.NextAttempt.Before(r.Next)) {
			r.Next = m.NextAttempt
		}
		group, _ := slices.BinarySearch(api.AgeGroups, Now.Sub(m.Arrived))
		r.Ages[group]++
	}
	return api.QueueSummary{Rows: []api.SummaryRow{r}, Destinations: 1}, nil
}

// Show implements control.Node.
func (n *Node) Show(_ context.Context, id mail.ID) (api.QueueDetail, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.Broken != nil {
		return api.QueueDetail{}, n.Broken
	}
	if i := n.find(id); i >= 0 {
		return n.messages[i], nil
	}
	return api.QueueDetail{}, api.ErrNotFound
}

func (n *Node) find(id mail.ID) int {
	return slices.IndexFunc(n.messages, func(m api.QueueDetail) bool { return m.ID == id })
}

// Change implements control.Node. Deletion of an active message stays pending forever.
func (n *Node) Change(_ context.Context, a api.Action, ids []mail.ID, reason string) (o api.Outcome, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(ids) < 1 || len(ids) > api.MaxPage {
		return o, fmt.Errorf("%d ids reached the node", len(ids))
	}
	for _, id := range ids {
		i := n.find(id)
		switch {
		case n.Broken != nil || id == n.Sick:
			err = errors.Join(err, fmt.Errorf("spool: write %s: input/output error", id))
		case i < 0:
			o.Missing = append(o.Missing, id)
		case a == api.Delete && n.messages[i].State == api.Active:
			o.Pending = append(o.Pending, id)
		case a == api.Delete:
			n.messages = slices.Delete(n.messages, i, i+1)
			o.Done = append(o.Done, id)
		default:
			n.apply(&n.messages[i], a, reason)
			o.Done = append(o.Done, id)
		}
	}
	return o, err
}

func (n *Node) apply(m *api.QueueDetail, a api.Action, reason string) {
	switch {
	case a == api.Hold:
		m.State, m.HoldReason, m.NextAttempt = api.Held, reason, time.Time{}
	case a == api.Release && m.State == api.Held, a == api.Flush && m.State == api.Waiting:
		m.State, m.HoldReason, m.NextAttempt = api.Waiting, "", Now
	}
}

// Start serves n on a real control socket and, if page is set, on a metrics listener on loopback,
// until the test ends. It returns the socket's path and the base URL of the metrics listener.
func Start(t testing.TB, n control.Node, page bool) (socket, url string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "edge.sock")
	registry := prometheus.NewRegistry()
	s, err := control.New(control.Options{
		Node: n, Gather: registry, Metrics: registry, Now: func() time.Time { return Now },
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	tcp, url := listenTCP(t, page)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, tcp) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with: %v", err)
		}
	})
	return socket, url
}
