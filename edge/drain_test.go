package edge

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/ingress/smtpd"
	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
	"anymx/edge/operate/words"
	"anymx/edge/queue"
	"anymx/edge/spool"
	"anymx/tests/kit"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// rig is a drain on real parts: a server on loopback, a spool in memory, a queue
// whose courier does what the test wants, and a speaker on a unix socket.
type rig struct {
	t       *testing.T
	dir     string // with the state
	socket  string // of the speaker
	smtp    string // address
	queue   *queue.Queue
	courier *courier
	drain   *drain
	limits  atomic.Pointer[config.Drain]
}

// courier delivers, or is down.
type courier struct{ down atomic.Bool }

func (c *courier) Deliver(_ context.Context, t *queue.Try) ([]mail.Result, error) {
	if c.down.Load() {
		return nil, &queue.Down{Cause: errors.New("core is away")}
	}
	results := make([]mail.Result, len(t.Pending))
	for i, n := range t.Pending {
		results[i].Recipient = n
	}
	return results, nil
}

const (
	ms    = config.Duration(time.Millisecond)
	never = config.Duration(time.Hour)
)

// quick are limits that a test need not wait for.
var quick = config.Drain{Graceful: 50 * ms, Confirm: never, Converge: 50 * ms, Sessions: never, Flush: never}

// rigOptions are what a rig is made from. The zero value has no speaker.
type rigOptions struct {
	dir     string               // "": a new one
	speaker *controltest.Speaker // nil: none
	socket  string               // of a speaker that the test starts
	limits  config.Drain         // zero: quick
}

func newRig(t *testing.T, o rigOptions) *rig {
	t.Helper()
	r := &rig{t: t, dir: o.dir, socket: o.socket, courier: &courier{}}
	if r.dir == "" {
		r.dir = t.TempDir()
	}
	if o.limits == (config.Drain{}) {
		o.limits = quick
	}
	r.limits.Store(&o.limits)
	if o.speaker != nil {
		r.socket = controltest.StartSpeaker(t, o.speaker)
	}
	sp, err := spool.Open(spool.Options{Dir: "spool", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	r.queue, err = queue.New(queue.Options{Spool: sp, Courier: r.courier, Hostname: func() string { return "mx.example.net" }})
	if err != nil {
		t.Fatal(err)
	}
	server := smtpd.New(smtpd.Options{
		Node: "test1", Spool: sp, Accepted: r.queue.Accepted,
		Settings: smtpd.Settings{Rules: &policy.Rules{Hostname: "mx.example.net", MaxMessage: 10000, Domains: policy.NewDomains([]policy.Domain{{Name: "example.net"}})}},
	})
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var sp2 *speaker
	if r.socket != "" {
		sp2 = newSpeaker(r.socket, log)
		running.Go(func() { sp2.run(ctx) })
	}
	running.Go(func() { _ = r.queue.Run(ctx) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.smtp = l.Addr().String()
	running.Go(func() { _ = server.Serve(l) })
	r.drain = newDrain(drainOptions{
		file: newStandingFile(r.dir), speaker: sp2, ingress: server.Registry(), queue: r.queue,
		limits: func() config.Drain { return *r.limits.Load() }, log: log,
	})
	r.drain.start()
	t.Cleanup(func() {
		r.limits.Store(&config.Drain{})
		r.stop(0, l)
		cancel()
		running.Wait()
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// stop ends the drain as the end of the process does.
func (r *rig) stop(grace time.Duration, l net.Listener) {
	r.drain.end(grace, grace == 0, func() {
		if l != nil {
			_ = l.Close()
		}
	})
}

// client is a sender on loopback.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

// dial connects, and holds that it is greeted by code.
func (r *rig) dial(code string) *client {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.smtp)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	c := &client{r.t, conn, bufio.NewReader(conn)}
	c.want(code)
	return c
}

func (c *client) want(code string) {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, code) {
			c.t.Fatalf("got %q, %v; want %s", line, err, code)
		}
		if line[3] == ' ' {
			return
		}
	}
}

func (c *client) say(line, code string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
		c.t.Fatal(err)
	}
	c.want(code)
}

// begin opens a transaction, which a drain has to wait for.
func (r *rig) begin() *client {
	r.t.Helper()
	c := r.dial("220")
	c.say("EHLO sender.example.com", "250")
	c.say("MAIL FROM:<a@example.com>", "250")
	c.say("RCPT TO:<b@example.net>", "250")
	c.say("DATA", "354")
	return c
}

// finish ends it with a message.
func (c *client) finish() {
	c.t.Helper()
	c.say("Subject: x\r\n\r\nhello\r\n.", "250")
}

func (r *rig) request(d api.DrainRequest) {
	r.t.Helper()
	if err := r.drain.request(d); err != nil {
		r.t.Fatal(err)
	}
}

// phase waits until the node stands there.
func (r *rig) phase(want api.Phase) {
	r.t.Helper()
	kit.Eventually(r.t, "the phase "+string(want), func() bool { phase, _ := r.drain.place(); return phase == want })
}

// step waits until a step is under way.
func (r *rig) step(want api.DrainStep) {
	r.t.Helper()
	kit.Eventually(r.t, "the step "+string(want), func() bool {
		s := r.drain.view()
		return s != nil && len(s.Steps) > 0 && s.Steps[len(s.Steps)-1].Step == want && s.Steps[len(s.Steps)-1].Ended.IsZero()
	})
}

// walked are the steps so far, each with its note.
func (r *rig) walked() []string {
	var list []string
	for _, s := range r.drain.view().Steps {
		line := string(s.Step)
		if s.Note != "" {
			line += ": " + s.Note
		}
		if s.Ended.Before(s.Began) {
			line += " (under way)"
		}
		list = append(list, line)
	}
	return list
}

func (r *rig) wantWalked(want ...string) {
	r.t.Helper()
	if got := r.walked(); !slices.Equal(got, want) {
		r.t.Errorf("walked %q, want %q", got, want)
	}
}

// onDisk is the drain as the next start finds it; nil: it will be in service.
func (r *rig) onDisk() *standing {
	r.t.Helper()
	s, err := newStandingFile(r.dir).read()
	if err != nil {
		r.t.Fatal(err)
	}
	if s != nil && s.Resumed {
		return nil
	}
	return s
}

// announcing is a healthy speaker with two routers.
func announcing() *controltest.Speaker {
	return &controltest.Speaker{State: controltest.SpeakerStatus()}
}

func orders(s *controltest.Speaker) string {
	var list []string
	for _, o := range s.Orders() {
		word := string(o.Routes)
		if o.Keep {
			word += " kept"
		}
		list = append(list, word)
	}
	return strings.Join(list, ", ")
}

// A node whose disk takes nothing is drained all the same, and whoever asked is
// told that a restart will not know of it.
func TestDrainWithoutDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{limits: quick, dir: filepath.Join(t.TempDir(), "absent")})
	err := r.drain.request(api.DrainRequest{Reason: "the disk fails"})
	if err == nil || !strings.Contains(err.Error(), "only until anymx-edge is started again") {
		t.Errorf("answered with %v", err)
	}
	r.phase(api.Drained)
	r.dial("421")
	if s := r.drain.view(); s.Reason != "the disk fails" {
		t.Errorf("%+v", s)
	}
	if err := r.drain.resume(); err == nil {
		t.Error("a resume was promised that a restart would not know")
	}
}

// A resume that the speaker never heard of does not undo an order that the
// operator gave it later, while this program was away.
func TestOldResumeIsOvertaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := newStandingFile(dir).write(standing{Began: time.Now().Add(-time.Hour), Resumed: true}); err != nil {
		t.Fatal(err)
	}
	sp := announcing()
	sp.State.Order, sp.State.Ordered = api.Order{Routes: api.Withdrawn, Keep: true}, time.Now()
	sp.State.Routes = api.Withdrawn
	r := newRig(t, rigOptions{dir: dir, speaker: sp})
	kit.Eventually(t, "the order is given up", func() bool { o, _ := r.drain.o.speaker.want(); return o == nil })
	kit.Eventually(t, "nothing is left on disk", func() bool { return r.onDisk() == nil })
	if s := r.drain.o.speaker.view(); s.Status != nil && s.Status.Routes != api.Withdrawn {
		t.Errorf("%+v", s.Status)
	}
}

// A client that comes to a drained node is not something that is left of it; a
// router that may still send traffic is.
func TestWhatIsLeftOfADrainedNode(t *testing.T) {
	t.Parallel()
	sp := announcing()
	sp.OnAsk = func(s *api.SpeakerStatus) { s.Peers[1].Confirmed = s.Routes != api.Withdrawn }
	limits := quick
	limits.Confirm = 200 * ms
	r := newRig(t, rigOptions{speaker: sp, limits: limits})
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	c, err := net.Dial("tcp", r.smtp)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	left := func() []string {
		s := api.Status{Phase: api.Drained, Drain: r.drain.view(), Speaker: r.drain.o.speaker.view()}
		return words.DrainLeft(s, time.Now())
	}
	if got := left(); len(got) != 1 || !strings.Contains(got[0], "1 of 2 peers confirmed the withdrawal") {
		t.Errorf("left: %q", got)
	}
}

// TestDrainAndResume walks all the steps with a client in a transaction, and
// back.
func TestDrainAndResume(t *testing.T) {
	t.Parallel()
	sp := announcing()
	r := newRig(t, rigOptions{speaker: sp, limits: config.Drain{Graceful: never, Confirm: never, Converge: never, Sessions: never, Flush: never}})
	idle, busy := r.dial("220"), r.begin()
	r.request(api.DrainRequest{Reason: "new disks"})
	if s := r.onDisk(); s == nil || s.Reason != "new disks" {
		t.Fatalf("on disk when it was answered: %+v", s)
	}
	r.step(api.StepGraceful)
	kit.Eventually(t, "the order graceful", func() bool { return orders(sp) == "graceful kept" })
	if err := r.drain.accepting(); err != nil {
		t.Errorf("while routers look for another way: %v", err)
	}
	r.request(api.DrainRequest{Now: true, Reason: "fire"})
	r.step(api.StepConverge)
	if err := r.drain.accepting(); err != nil {
		t.Errorf("while strays come: %v", err)
	}
	stray := r.dial("220")
	if s := r.drain.view(); s.Reason != "fire" || s.Confirmed != 2 || s.Peers != 2 || s.Sessions != 3 || r.onDisk().Reason != "fire" {
		t.Errorf("%+v, on disk %+v", s, r.onDisk())
	}
	r.limits.Store(&quick) // a reload; the step under way keeps its limit
	if err := r.drain.resume(); err != nil {
		t.Fatal(err)
	}
	r.phase(api.Running)
	kit.Eventually(t, "the order announced", func() bool { return strings.HasSuffix(orders(sp), ", announced kept") })

	r.request(api.DrainRequest{})
	r.step(api.StepSessions)
	kit.Eventually(t, "421 for all", func() bool {
		err := r.drain.accepting()
		return err != nil && strings.Contains(err.Error(), "draining")
	})
	idle.want("421")
	stray.want("421")
	r.dial("421")
	busy.finish()
	busy.want("421")
	r.phase(api.Drained)
	r.wantWalked("graceful", "withdraw", "converge", "sessions", "flush")
	if got := orders(sp); got != "graceful kept, withdrawn kept, announced kept, graceful kept, withdrawn kept" {
		t.Error(got)
	}
	if s := r.drain.view(); s.Messages != 0 {
		t.Errorf("%+v", s)
	}
	r.dial("421")
	r.request(api.DrainRequest{Reason: "still"}) // the same drain
	r.wantWalked("graceful", "withdraw", "converge", "sessions", "flush")
	if err := r.drain.resume(); err != nil || r.onDisk() != nil {
		t.Fatalf("resume: %v, on disk %+v", err, r.onDisk())
	}
	if phase, _ := r.drain.place(); phase != api.Running || r.drain.view() != nil || r.drain.accepting() != nil {
		t.Errorf("resumed: %s, %+v", phase, r.drain.view())
	}
	r.begin().finish()
}

// TestResumeFromEachStep gives a drain up in each of its steps: nobody is cut.
func TestResumeFromEachStep(t *testing.T) {
	t.Parallel()
	for _, step := range steps {
		t.Run(string(step), func(t *testing.T) {
			t.Parallel()
			limits, sp := quick, announcing()
			switch step {
			case api.StepGraceful:
				limits.Graceful = never
			case api.StepWithdraw:
				sp.OnAsk = func(s *api.SpeakerStatus) { s.Peers[1].Confirmed = s.Routes != api.Withdrawn }
			case api.StepConverge:
				limits.Converge = never
			}
			r := newRig(t, rigOptions{speaker: sp, limits: limits})
			if step == api.StepFlush {
				r.courier.down.Store(true)
				r.begin().finish()
			}
			var busy *client
			if step != api.StepFlush {
				busy = r.begin()
			}
			r.request(api.DrainRequest{})
			r.step(step)
			if err := r.drain.resume(); err != nil {
				t.Fatal(err)
			}
			if phase, _ := r.drain.place(); phase != api.Running || r.onDisk() != nil {
				t.Errorf("%s, on disk %+v", phase, r.onDisk())
			}
			if busy != nil {
				busy.finish()
			}
			r.begin().finish()
			kit.Eventually(t, "the order announced", func() bool { return strings.HasSuffix(orders(sp), "announced kept") })
		})
	}
}

func TestDrainNow(t *testing.T) {
	t.Parallel()
	sp := announcing()
	r := newRig(t, rigOptions{speaker: sp, limits: config.Drain{Graceful: never, Confirm: never, Converge: 20 * ms, Sessions: never, Flush: never}})
	r.request(api.DrainRequest{Now: true})
	r.phase(api.Drained)
	r.wantWalked("withdraw", "converge", "sessions", "flush")
	if got := orders(sp); got != "withdrawn kept" {
		t.Error(got)
	}
}

// TestRoutesWithdrawnBefore has nobody to wait for.
func TestRoutesWithdrawnBefore(t *testing.T) {
	t.Parallel()
	sp := announcing()
	sp.State.Routes, sp.State.Health.Up = api.Withdrawn, false
	r := newRig(t, rigOptions{speaker: sp, limits: config.Drain{Graceful: never, Confirm: never, Converge: never, Sessions: never, Flush: never}})
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	r.wantWalked("withdraw", "sessions", "flush")
}

func TestRouterThatDoesNotConfirm(t *testing.T) {
	t.Parallel()
	sp := announcing()
	sp.OnAsk = func(s *api.SpeakerStatus) { s.Peers[1].Confirmed = s.Routes != api.Withdrawn }
	limits := quick
	limits.Confirm = 300 * ms
	r := newRig(t, rigOptions{speaker: sp, limits: limits})
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	r.wantWalked("graceful", "withdraw: not acknowledged by 2001:db8:ffff::1", "converge", "sessions", "flush")
	if s := r.drain.view(); s.Confirmed != 1 || s.Peers != 2 {
		t.Errorf("%d of %d", s.Confirmed, s.Peers)
	}
}

// TestSpeakerIsDead goes on without it. When it comes, it hears what is wanted.
func TestSpeakerIsDead(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "bgp.sock")
	limits := quick
	limits.Confirm = 100 * ms
	r := newRig(t, rigOptions{socket: socket, limits: limits})
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	for i, note := range r.walked()[:2] {
		if want := []string{"graceful: ", "withdraw: "}[i]; !strings.HasPrefix(note, want) || !strings.Contains(note, "anymx-bgp") {
			t.Errorf("step %d: %q", i, note)
		}
	}
	if answer := r.drain.o.speaker.view(); answer.Problem == "" || answer.Asked.IsZero() {
		t.Errorf("status says %+v", answer)
	}
	sp := announcing()
	if err := os.Symlink(controltest.StartSpeaker(t, sp), socket); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the order withdrawn", func() bool { return orders(sp) == "withdrawn kept" })
	if err := r.drain.resume(); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the order announced", func() bool { return orders(sp) == "withdrawn kept, announced kept" })
	kit.Eventually(t, "the status", func() bool { return r.drain.o.speaker.view().Problem == "" })
}

// TestSpeakerHearsOfResumeLater, after the node has ended and begun again: the
// speaker's own order to withdraw would last for ever.
func TestSpeakerHearsOfResumeLater(t *testing.T) {
	t.Parallel()
	dir, socket := t.TempDir(), filepath.Join(t.TempDir(), "bgp.sock")
	file := filepath.Join(dir, "drain.json")
	t.Run("resumed", func(t *testing.T) {
		r := newRig(t, rigOptions{dir: dir, socket: socket})
		if err := r.drain.resume(); err != nil { // one that is in service stays so
			t.Fatal(err)
		}
		limits := quick
		limits.Confirm = 10 * ms
		r.limits.Store(&limits)
		r.request(api.DrainRequest{Now: true})
		r.phase(api.Drained)
		if err := r.drain.resume(); err != nil {
			t.Fatal(err)
		}
		r.begin().finish()
	})
	if _, err := os.Stat(file); err != nil {
		t.Fatal("nobody will tell the speaker:", err)
	}
	r := newRig(t, rigOptions{dir: dir, socket: socket})
	if phase, _ := r.drain.place(); phase != api.Running {
		t.Error(phase)
	}
	sp := announcing()
	if err := os.Symlink(controltest.StartSpeaker(t, sp), socket); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the order announced", func() bool { return orders(sp) == "announced kept" })
	kit.Eventually(t, "nothing is left on disk", func() bool { _, err := os.Stat(file); return errors.Is(err, os.ErrNotExist) })
}

// TestSpeakerForgets is told again while the node is drained, and not once it is
// in service.
func TestSpeakerForgets(t *testing.T) {
	t.Parallel()
	sp := announcing()
	var forget atomic.Bool
	sp.OnAsk = func(s *api.SpeakerStatus) {
		if forget.CompareAndSwap(true, false) {
			s.Order = api.Order{}
		}
	}
	r := newRig(t, rigOptions{speaker: sp})
	r.request(api.DrainRequest{Now: true})
	r.phase(api.Drained)
	forget.Store(true)
	kit.Eventually(t, "the order is given again", func() bool { return orders(sp) == "withdrawn kept, withdrawn kept" })
	if err := r.drain.resume(); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the order announced", func() bool { return orders(sp) == "withdrawn kept, withdrawn kept, announced kept" })
	forget.Store(true)
	began := time.Now()
	kit.Eventually(t, "two more answers", func() bool { return r.drain.o.speaker.view().Asked.After(began.Add(askEvery)) })
	if n := len(sp.Orders()); n != 3 {
		t.Errorf("%d orders", n)
	}
}

// TestSessionsAreCut after their time.
func TestSessionsAreCut(t *testing.T) {
	t.Parallel()
	limits := quick
	limits.Sessions = 100 * ms
	r := newRig(t, rigOptions{limits: limits})
	busy := r.begin()
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	r.wantWalked("sessions: 1 session was cut", "flush")
	if _, err := busy.r.ReadByte(); err == nil {
		t.Error("it was not cut")
	}
}

// TestCoreIsAway drains with messages left, and hands them over when core is
// back, still drained. What is on hold is not waited for.
func TestCoreIsAway(t *testing.T) {
	t.Parallel()
	limits := quick
	limits.Flush = 300 * ms
	r := newRig(t, rigOptions{limits: limits})
	r.courier.down.Store(true)
	r.begin().finish()
	r.begin().finish()
	kit.Eventually(t, "the queue pauses", func() bool { return r.queue.Stats().Paused != nil })
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	r.wantWalked("sessions", "flush: 2 messages are left: core is away")
	page, _, err := r.queue.List(t.Context(), queue.Filter{Limit: 2})
	if err != nil || len(page) != 2 {
		t.Fatalf("%d messages (%v)", len(page), err)
	}
	if answer, err := r.queue.Hold("look at it", page[0].Envelope.ID); err != nil || len(answer.Done) != 1 {
		t.Fatalf("%+v, %v", answer, err)
	}
	r.courier.down.Store(false)
	kit.Eventually(t, "core has it", func() bool { s := r.drain.view(); return s.Messages == 1 && s.Held == 1 })
	if phase, _ := r.drain.place(); phase != api.Drained {
		t.Error(phase)
	}
	if err := r.drain.resume(); err != nil {
		t.Fatal(err)
	}
	limits.Flush = never
	r.limits.Store(&limits)
	r.request(api.DrainRequest{})
	r.phase(api.Drained)
	r.wantWalked("sessions", "flush: 1 message is left, on hold")
}

// TestStartDrained starts a node where it stood.
func TestStartDrained(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	began := time.Now().Add(-time.Hour)
	if err := newStandingFile(dir).write(standing{Reason: "new disks", Began: began}); err != nil {
		t.Fatal(err)
	}
	sp := announcing()
	r := newRig(t, rigOptions{dir: dir, speaker: sp, limits: config.Drain{Graceful: never, Confirm: never, Converge: never, Sessions: never, Flush: never}})
	r.dial("421")
	r.phase(api.Drained)
	r.wantWalked("withdraw", "sessions", "flush")
	if s := r.drain.view(); s.Reason != "new disks" || !s.Began.Equal(began) || orders(sp) != "withdrawn kept" {
		t.Errorf("%+v; orders %s", s, orders(sp))
	}
	if err := r.drain.resume(); err != nil {
		t.Fatal(err)
	}
	r.begin().finish()
}

// TestStartAfterDrain has nothing left to walk: it is drained at once, and what
// is left of the spool goes on being tried.
func TestStartAfterDrain(t *testing.T) {
	t.Parallel()
	dir, sp := t.TempDir(), announcing()
	t.Run("before", func(t *testing.T) {
		r := newRig(t, rigOptions{dir: dir})
		r.request(api.DrainRequest{Reason: "new disks"})
		r.phase(api.Drained)
		if s := r.onDisk(); !s.Drained || s.Reason != "new disks" {
			t.Errorf("%+v", s)
		}
		r.request(api.DrainRequest{Reason: "and a new board"})
	})
	r := newRig(t, rigOptions{dir: dir, speaker: sp})
	if phase, _ := r.drain.place(); phase != api.Drained || r.drain.view().Reason != "and a new board" {
		t.Errorf("%s, %+v", phase, r.drain.view())
	}
	r.dial("421")
	kit.Eventually(t, "the order withdrawn", func() bool { return orders(sp) == "withdrawn kept" })
	r.stop(20*time.Second, nil)
	r.wantWalked("sessions", "flush")
	if !r.onDisk().Drained || orders(sp) != "withdrawn kept" {
		t.Errorf("%+v, orders %s", r.onDisk(), orders(sp))
	}
}

// TestStartUnreadable keeps a node out of service and says why.
func TestStartUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "drain.json")
	if err := os.WriteFile(file, []byte("{\"rea"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, rigOptions{dir: dir})
	r.dial("421")
	if s := r.drain.view(); !strings.Contains(s.Reason, file) || !strings.Contains(s.Reason, "until it is resumed") {
		t.Errorf("%+v", s)
	}
	if err := r.drain.accepting(); err == nil || !strings.Contains(err.Error(), file) {
		t.Error(err)
	}
	if err := r.drain.resume(); err != nil {
		t.Fatal(err)
	}
	if r.onDisk() != nil {
		t.Error("the file is still there")
	}
	r.begin().finish()
}

// TestEnd walks the steps when the process ends, and leaves nothing on disk.
func TestEnd(t *testing.T) {
	t.Parallel()
	sp := announcing()
	limits := config.Drain{Graceful: 50 * ms, Confirm: 2000 * ms, Converge: 50 * ms}
	r := newRig(t, rigOptions{speaker: sp, limits: limits})
	busy := r.begin()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.stop(20*time.Second, nil)
	}()
	r.step(api.StepGraceful)
	if err := r.drain.accepting(); err != nil {
		t.Errorf("while routers look for another way: %v", err)
	}
	r.step(api.StepSessions)
	for _, err := range []error{r.drain.request(api.DrainRequest{}), r.drain.resume()} {
		if !errors.Is(err, errEnding) {
			t.Errorf("a request while it ends: %v", err)
		}
	}
	busy.finish()
	busy.want("421")
	<-done
	r.wantWalked("graceful", "withdraw", "converge", "sessions", "flush")
	phase, _ := r.drain.place()
	if s := r.drain.view(); phase != api.Stopping || !s.Stopping || orders(sp) != "graceful, withdrawn" || r.onDisk() != nil {
		t.Errorf("%s, %+v, orders %s, on disk %+v", phase, s, orders(sp), r.onDisk())
	}
}

// TestEndOfDrain ends a node that is on its way out, or out: its order stays.
func TestEndOfDrain(t *testing.T) {
	t.Parallel()
	t.Run("under way", func(t *testing.T) {
		t.Parallel()
		sp := announcing()
		r := newRig(t, rigOptions{speaker: sp, limits: config.Drain{Graceful: never, Confirm: 2000 * ms, Converge: never}})
		r.request(api.DrainRequest{Reason: "new disks"})
		r.step(api.StepGraceful)
		r.stop(20*time.Second, nil)
		r.wantWalked("graceful: given up", "withdraw", "sessions", "flush")
		if s := r.drain.view(); s.Reason != "new disks" || !s.Stopping || orders(sp) != "graceful kept, withdrawn kept" || r.onDisk() == nil {
			t.Errorf("%+v, orders %s, on disk %+v", s, orders(sp), r.onDisk())
		}
	})
	t.Run("drained", func(t *testing.T) {
		t.Parallel()
		sp := announcing()
		r := newRig(t, rigOptions{speaker: sp})
		r.request(api.DrainRequest{})
		r.phase(api.Drained)
		r.stop(20*time.Second, nil)
		r.wantWalked("graceful", "withdraw", "converge", "sessions", "flush", "sessions", "flush")
		if got := orders(sp); got != "graceful kept, withdrawn kept" || r.onDisk() == nil {
			t.Errorf("orders %s, on disk %+v", got, r.onDisk())
		}
	})
}

// TestEndWithoutCore does not wait for it.
func TestEndWithoutCore(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{})
	r.courier.down.Store(true)
	r.begin().finish()
	kit.Eventually(t, "the queue pauses", func() bool { return r.queue.Stats().Paused != nil })
	began := time.Now()
	r.stop(time.Minute, nil)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	r.wantWalked("sessions", "flush: 1 message is left: core is away")
}

// TestRequestsAtOnce come from several operators: whatever the order, the node
// and its disk agree at the end.
func TestRequestsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{speaker: announcing()})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 5 {
				if err := r.drain.request(api.DrainRequest{Now: true}); err != nil {
					t.Error(err)
				}
				if err := r.drain.resume(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if phase, _ := r.drain.place(); phase != api.Running || r.onDisk() != nil {
		t.Errorf("%s, on disk %+v", phase, r.onDisk())
	}
	r.begin().finish()
}

// TestDrainMetrics reads them in each state.
func TestDrainMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, rigOptions{limits: config.Drain{Sessions: never}})
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(drainMetrics{r.drain})
	value := func(name, step string) float64 {
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.Metric {
				if f.GetName() == name && (len(m.Label) == 0 || m.Label[0].GetValue() == step) {
					return m.Gauge.GetValue()
				}
			}
		}
		t.Fatalf("no %s", name)
		return 0
	}
	if value("anymx_drain_out_of_service", "") != 0 || value("anymx_drain_sessions", "") != 0 {
		t.Error("not 0 in service")
	}
	busy := r.begin()
	r.request(api.DrainRequest{})
	r.step(api.StepSessions)
	if value("anymx_drain_out_of_service", "") != 1 || value("anymx_drain_step", "sessions") != 1 || value("anymx_drain_step", "flush") != 0 ||
		value("anymx_drain_sessions", "") != 1 || value("anymx_drain_step_seconds", "sessions") <= 0 {
		t.Error("the step sessions is not seen")
	}
	busy.finish()
	r.phase(api.Drained)
	if value("anymx_drain_step", "sessions") != 0 || value("anymx_drain_step_seconds", "sessions") <= 0 || value("anymx_drain_out_of_service", "") != 1 {
		t.Error("the end is not seen")
	}
}
