package drain

import (
	"anymx/tests/kit"
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
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
	"anymx/edge/operate/poll"
	"anymx/edge/queue"
	"anymx/edge/spool"

	"github.com/cockroachdb/pebble/v2/vfs"
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
	drain   *Drain
	speaker *poll.Speaker // nil: none
	limits  atomic.Pointer[config.Drain]
}

// courier delivers, or is down.
type courier struct{ down atomic.Bool }

func (c *courier) Deliver(_ context.Context, t *queue.Attempt) ([]mail.Result, error) {
	if c.down.Load() {
		return nil, &queue.Down{Cause: errors.New("core is away")}
	}
	results := make([]mail.Result, len(t.Pending))
	for i, n := range t.Pending {
		results[i].Recipient = n
	}
	return results, nil
}

func (c *courier) Reach(context.Context, string) error {
	if c.down.Load() {
		return &queue.Down{Cause: errors.New("core is away")}
	}
	return nil
}

const (
	ms    = config.Duration(time.Millisecond)
	never = config.Duration(time.Hour)
)

// quick are limits that a test need not wait for. Graceful leaves a busy machine the time to answer.
var quick = config.Drain{Graceful: 500 * ms, Confirm: never, Converge: 50 * ms, Sessions: never, Flush: never}

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
	options := Options{
		StateDir: r.dir, Ingress: server.Registry(), Queue: r.queue,
		Limits: func() config.Drain { return *r.limits.Load() }, Log: log,
	}
	if r.socket != "" {
		r.speaker = poll.NewSpeaker(r.socket, log)
		options.Speaker = r.speaker
		running.Go(func() { r.speaker.Run(ctx) })
	}
	running.Go(func() { _ = r.queue.Run(ctx) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.smtp = l.Addr().String()
	running.Go(func() { _ = server.Serve(l) })
	r.drain = New(options)
	r.drain.Start()
	t.Cleanup(func() {
		r.limits.Store(&config.Drain{})
		r.stop(0)
		_ = l.Close()
		cancel()
		running.Wait()
		if err := sp.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// stop ends the drain as the end of the process does.
func (r *rig) stop(grace time.Duration) { r.drain.Stop(grace, grace == 0, func() {}) }

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

// beginMessage opens a transaction, which a drain has to wait for.
func (r *rig) beginMessage() *client {
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
	if err := r.drain.Request(d); err != nil {
		r.t.Fatal(err)
	}
}

// phase waits until the node stands there.
func (r *rig) phase(want api.Phase) {
	r.t.Helper()
	kit.Eventually(r.t, "the phase "+string(want), func() bool { phase, _ := r.drain.Phase(); return phase == want })
}

// step waits until a step is under way.
func (r *rig) step(want api.DrainStep) {
	r.t.Helper()
	kit.Eventually(r.t, "the step "+string(want), func() bool {
		s := r.drain.Status()
		return s != nil && len(s.Steps) > 0 && s.Steps[len(s.Steps)-1].Step == want && s.Steps[len(s.Steps)-1].Ended.IsZero()
	})
}

// walked are the steps so far, each with its note.
func (r *rig) walked() []string {
	var list []string
	for _, s := range r.drain.Status().Steps {
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
func (r *rig) onDisk() *savedState {
	r.t.Helper()
	s, err := fileIn(r.dir).read()
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
