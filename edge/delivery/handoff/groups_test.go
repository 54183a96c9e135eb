package handoff

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
	"anymx/edge/queue"
	"anymx/edge/statefile"
	"anymx/tests/kit"
)

// groupsRig is a courier to groups, each with a server of its own.
type groupsRig struct {
	*Groups
	st       store
	options  map[string]Options
	servers  map[string]*smtptest.Server
	routes   sync.Map // destination by domain
	registry *prometheus.Registry
	dir      string
}

func newGroups(t *testing.T, names ...string) *groupsRig {
	t.Helper()
	r := &groupsRig{
		st: newStore(t), options: map[string]Options{}, servers: map[string]*smtptest.Server{},
		registry: prometheus.NewRegistry(), dir: t.TempDir(),
	}
	for _, name := range append([]string{""}, names...) {
		r.add(t, name, full())
	}
	g, err := NewGroups(r.options, func(domain string) string {
		destination, _ := r.routes.LoadOrStore(domain, "")
		return destination.(string)
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Groups = g
	t.Cleanup(func() { _ = g.Close() })
	return r
}

// add starts a server for a group of the next options.
func (r *groupsRig) add(t *testing.T, name string, s *smtptest.Server) {
	t.Helper()
	r.servers[name] = smtptest.Start(t, s)
	r.options[name] = Options{
		Addresses: []string{s.Addr()}, Hello: "edge.test", IdleTimeout: time.Minute, Metrics: r.registry,
		Learned: statefile.File(filepath.Join(r.dir, "extensions"+name+".json")), EHLOInterval: time.Hour,
	}
}

func (r *groupsRig) reload(t *testing.T) {
	t.Helper()
	if err := r.Reload(r.options); err != nil {
		t.Fatal(err)
	}
}

// deliver delivers all of an attempt to a destination.
func (r *groupsRig) deliver(t *testing.T, destination string, try *queue.Attempt) {
	t.Helper()
	results, err := r.to(t, destination, try)
	if err != nil || len(results) != len(try.Pending) {
		t.Fatalf("to %q: %v %v", destination, results, err)
	}
	for _, result := range results {
		if result.Failure != nil {
			t.Errorf("to %q: %v", destination, result.Failure)
		}
	}
}

// to is one attempt, to a destination.
func (r *groupsRig) to(t *testing.T, destination string, try *queue.Attempt) ([]mail.Result, error) {
	try.Destination = destination
	return r.Deliver(t.Context(), try)
}

// accepted is how many messages each server got, in the order of the names.
func (r *groupsRig) accepted() (counts []int) {
	var names []string
	for name := range r.servers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		counts = append(counts, r.servers[name].Accepted())
	}
	return counts
}

func TestGroupsDeliver(t *testing.T) {
	r := newGroups(t, "a", "b")
	for _, destination := range []string{"", "core/a", "core/b", "core/b"} {
		r.deliver(t, destination, r.st.try(text, 1))
	}
	if got := r.accepted(); !slices.Equal(got, []int{1, 1, 2}) {
		t.Errorf("accepted %v", got)
	}
	if results, err := r.Deliver(t.Context(), r.st.try(text, 1)); err != nil || results[0].Failure != nil || r.accepted()[0] != 2 {
		t.Errorf("the queue's destination: %v %v", results, err)
	}
	var names []string
	for _, s := range r.Status() {
		names = append(names, s.Name)
		if len(s.Addresses) != 1 || s.Addresses[0].Health != Up || s.Addresses[0].Address != r.servers[s.Name].Addr() {
			t.Errorf("%q: %+v", s.Name, s.Addresses)
		}
	}
	if !slices.Equal(names, []string{"", "a", "b"}) {
		t.Errorf("status of %q", names)
	}
}

// A group that is down stops nothing but itself.
func TestGroupDown(t *testing.T) {
	r := newGroups(t, "a")
	r.servers["a"].Close()
	for range 3 {
		var down *queue.Down
		if _, err := r.to(t, "core/a", r.st.try(text, 1)); !errors.As(err, &down) {
			t.Fatalf("got %v", err)
		}
		r.deliver(t, "", r.st.try(text, 1))
	}
	for _, s := range r.Status() {
		if want := map[string]Health{"": Up, "a": Down}[s.Name]; s.Addresses[0].Health != want {
			t.Errorf("%q is %s", s.Name, s.Addresses[0].Health)
		}
	}
	var down *queue.Down
	if err := r.Reach(t.Context(), "core/a"); !errors.As(err, &down) {
		t.Errorf("reached: %v", err)
	}
	for _, destination := range []string{"", "core/gone"} {
		if err := r.Reach(t.Context(), destination); err != nil {
			t.Errorf("%q: %v", destination, err)
		}
	}
	r.Retry()
	if s := r.Status()[1].Addresses[0]; time.Until(s.RetryAt) > 0 {
		t.Errorf("still paused until %v", s.RetryAt)
	}
}

// A reload adds and changes groups. One that stays as it was keeps its health.
func TestGroupsReload(t *testing.T) {
	r := newGroups(t, "a", "gone")
	r.servers["gone"].Close()
	_, _ = r.to(t, "core/gone", r.st.try(text, 1))
	r.add(t, "new", full())
	r.add(t, "a", full()) // elsewhere
	r.reload(t)
	for _, destination := range []string{"", "core/a", "core/new"} {
		r.deliver(t, destination, r.st.try(text, 1))
	}
	if got := r.accepted(); !slices.Equal(got, []int{1, 1, 0, 1}) {
		t.Errorf("accepted %v", got)
	}
	if s := r.Status()[2]; s.Name != "gone" || s.Addresses[0].Health != Down {
		t.Errorf("after the reload %+v", s)
	}
}

// Options that are at fault leave all groups as they were.
func TestGroupsReloadRefused(t *testing.T) {
	r := newGroups(t, "a")
	good := r.options["a"]
	for name, broken := range map[string]map[string]Options{
		"no default":     {"a": good},
		"a bad address":  {"": r.options[""], "a": {Hello: "x", Addresses: []string{"nowhere"}}, "b": good},
		"a bad group":    {"": r.options[""], "b": {Hello: "x"}},
		"metrics at odd": {"": r.options[""], "b": good, "c": {Hello: "x", Addresses: good.Addresses, Metrics: refusing{}}},
	} {
		err := r.Reload(broken)
		if err == nil || name == "a bad group" && !strings.Contains(err.Error(), "core group b: ") {
			t.Errorf("%s: %v", name, err)
		}
		r.deliver(t, "core/a", r.st.try(text, 1))
		if n := len(r.Status()); n != 2 {
			t.Errorf("%s: %d groups", name, n)
		}
	}
	r.options["b"] = good
	r.reload(t) // the metrics of what was refused are gone
}

// refusing is a registry that takes nothing.
type refusing struct{ prometheus.Registerer }

func (refusing) Register(prometheus.Collector) error  { return errors.New("refused") }
func (refusing) Unregister(prometheus.Collector) bool { return true }

// tryTo is an attempt of a message to one user at each domain.
func (r *groupsRig) tryTo(domains ...string) *queue.Attempt {
	var rcpts []string
	for _, d := range domains {
		rcpts = append(rcpts, "u@"+d)
	}
	return r.st.tryEnvelope(text, rcpts, nil)
}

// Mail for a group that was removed goes where the domains of its recipients go now.
func TestRemovedGroup(t *testing.T) {
	r := newGroups(t, "a", "old")
	r.routes.Store("a.example", "core/a")
	r.routes.Store("old.example", "core/old") // the routes follow a moment later
	delete(r.options, "old")
	r.reload(t)
	r.deliver(t, "core/old", r.tryTo("a.example", "other.example", "a.example", "old.example"))
	if got := r.accepted(); !slices.Equal(got, []int{1, 1, 0}) {
		t.Errorf("accepted %v", got)
	}
	if to := r.servers["a"].Messages()[0].To; len(to) != 2 {
		t.Errorf("a got %q", to)
	}
	r.deliver(t, "elsewhere.example", r.tryTo("a.example")) // not a core at all

	// One of the two is down: the other's recipients are served, and only those of the first wait.
	r.servers["a"].Close()
	try := r.tryTo("a.example", "other.example")
	results, err := r.to(t, "core/old", try)
	if err != nil || len(results) != 2 {
		t.Fatal(results, err)
	}
	for _, result := range results {
		if failed := result.Failure != nil; failed != (result.Recipient == 0) || failed && result.Failure.Permanent {
			t.Errorf("recipient %d: %v", result.Recipient, result.Failure)
		}
	}
	var down *queue.Down
	if _, err := r.to(t, "core/old", r.tryTo("a.example")); !errors.As(err, &down) {
		t.Errorf("got %v", err)
	}
}

// What is in transfer to a group when it is removed ends well, even if the group comes back
// meanwhile; a message that waits for room there goes elsewhere at once.
func TestRemovedInTransfer(t *testing.T) {
	r := newGroups(t)
	var inTransfer atomic.Bool
	goOn := make(chan struct{})
	release := sync.OnceFunc(func() { close(goOn) })
	slow := full()
	slow.Hook = func(step smtptest.Step) smtptest.Action {
		if step.Verb == "END" {
			inTransfer.Store(true)
			<-goOn
		}
		return smtptest.Action{}
	}
	r.add(t, "slow", slow)
	t.Cleanup(release)
	o := r.options["slow"]
	o.MaxConnections = 1
	r.options["slow"] = o
	r.reload(t)
	first, second := make(chan error, 1), make(chan error, 1)
	attempt := func(done chan error) {
		try := r.st.try(text, 1)
		go func() {
			results, err := r.to(t, "core/slow", try)
			if err == nil && results[0].Failure != nil {
				err = results[0].Failure
			}
			done <- err
		}()
	}
	attempt(first)
	kit.Eventually(t, "the first message is in transfer", inTransfer.Load)
	waiting := (*r.current.Load())["slow"]
	attempt(second)
	kit.Eventually(t, "the second message waits for room", func() bool {
		waiting.mu.Lock()
		defer waiting.mu.Unlock()
		return waiting.waiting == 1
	})
	delete(r.options, "slow")
	r.reload(t)
	if err := <-second; err != nil || r.servers[""].Accepted() != 1 {
		t.Errorf("the message that waited: %v, %d at the default core", err, r.servers[""].Accepted())
	}
	r.add(t, "slow", full())
	r.reload(t)
	r.deliver(t, "core/slow", r.st.try(text, 1))
	release()
	if err := <-first; err != nil {
		t.Error(err)
	}
	if slow.Accepted() != 1 || r.servers["slow"].Accepted() != 1 {
		t.Errorf("%d and %d accepted", slow.Accepted(), r.servers["slow"].Accepted())
	}
}

// A message must be able to go to any group: what one of them lacks is not offered.
func TestGroupsExtensions(t *testing.T) {
	r := newGroups(t)
	if r.Extensions() != mail.CoreUnknown {
		t.Errorf("before the first session %v", r.Extensions())
	}
	r.deliver(t, "", r.st.try(text, 1))
	if got := r.Extensions().Offer(); got != mail.AllExtensions {
		t.Errorf("one core offers %v", got)
	}
	r.add(t, "plain", &smtptest.Server{Extensions: []string{"PIPELINING", "8BITMIME"}})
	r.reload(t)
	if got := r.Extensions().Offer(); got != mail.AllExtensions {
		t.Errorf("with an unknown group %v", got)
	}
	r.deliver(t, "core/plain", r.st.try(text, 1))
	if got := r.Extensions(); got.Offer() != mail.EightBitMIME || got.Supports(mail.SMTPUTF8) || !got.Supports(mail.EightBitMIME) {
		t.Errorf("with a group that lacks SMTPUTF8 %v", got)
	}
	delete(r.options, "plain")
	r.reload(t)
	if got := r.Extensions().Offer(); got != mail.AllExtensions {
		t.Errorf("after the group has gone %v", got)
	}
}

// Groups that a reload adds are asked too. The file of one that is removed goes.
func TestGroupsLearn(t *testing.T) {
	r := newGroups(t, "a")
	ctx, stop := context.WithCancel(t.Context())
	var learning sync.WaitGroup
	learning.Go(func() { r.Learn(ctx) })
	learned := func(name string) bool {
		for _, s := range r.Status() {
			if s.Name == name {
				return s.Addresses[0].Learned
			}
		}
		return false
	}
	kit.Eventually(t, "both are asked", func() bool { return learned("") && learned("a") })
	r.add(t, "b", full())
	r.reload(t)
	kit.Eventually(t, "the new one is asked", func() bool { return learned("b") })
	file := string(r.options["b"].Learned)
	kit.Eventually(t, "it is written down", func() bool { _, err := os.Stat(file); return err == nil })
	delete(r.options, "b")
	r.reload(t)
	kit.Eventually(t, "the file is removed", func() bool { _, err := os.Stat(file); return errors.Is(err, fs.ErrNotExist) })
	stop()
	learning.Wait()
	r.add(t, "late", full())
	r.reload(t)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(string(r.options["a"].Learned)); err != nil {
		t.Error(err)
	}
	if err := r.Reload(r.options); !errors.Is(err, errClosed) {
		t.Errorf("a reload after the end: %v", err)
	}
	if _, err := r.to(t, "core/a", r.st.try(text, 1)); !errors.Is(err, errClosed) {
		t.Errorf("a delivery after the end: %v", err)
	}
}

// Each metric has the label group, which is empty for the default core.
func TestGroupsMetrics(t *testing.T) {
	r := newGroups(t, "a")
	r.deliver(t, "core/a", r.st.try(text, 1))
	lines := gather(t, r.registry)
	for _, want := range []string{
		`up{address="0",group=""} 1`, `up{address="0",group="a"} 1`, `connections{address="0",group="a",state="idle"} 1`,
		`dials_total{address="0",group="a",result="opened"} 1`, `transaction_seconds{group=""} 0`, `transaction_seconds{group="a"} 1`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no %s in\n%s", want, strings.Join(lines, "\n"))
		}
	}
	delete(r.options, "a")
	r.reload(t)
	for _, line := range gather(t, r.registry) {
		if strings.Contains(line, `group="a"`) {
			t.Errorf("after the group was removed: %s", line)
		}
	}
	_ = r.Close()
	if left := gather(t, r.registry); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// Probes reach the addresses of every group.
func TestGroupsProbe(t *testing.T) {
	r := newGroups(t, "a")
	r.Probe(t.Context(), 1<<10)
	for _, s := range r.Status() {
		if p := s.Addresses[0].Probe; p.Outcome != Answered {
			t.Errorf("%q: %+v", s.Name, p)
		}
	}
}
