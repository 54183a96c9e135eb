package node

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control/controltest"
	"anymx/tests/kit"
	"anymx/tests/pop"
)

// drainCase changes one key of [drain] on a running edge and drains it.
type drainCase = pop.Change[*draining]

// draining is a running edge that is drained and resumed again and again.
type draining struct {
	t       *testing.T
	pop     *pop.PoP
	speaker *controltest.Speaker
	silent  atomic.Bool // no router confirms a withdrawal
	base    string
	ordered int // commands that the speaker got before this drain
}

// drainPatience is long enough for what takes a second, and short for what takes an hour.
const drainPatience = 5 * time.Second

var drainCases = []drainCase{
	{Key: "drain.graceful", Was: `"0s"`, Is: `"1s"`, Observe: (*draining).commands, Before: "withdrawn", After: "graceful withdrawn"},
	{Key: "drain.confirm", Was: `"10m"`, Is: `"1s"`, Observe: (*draining).unconfirmed, Before: "waits", After: "goes on"},
	{Key: "drain.converge", Was: `"0s"`, Is: `"1h"`, Observe: (*draining).newClient, Before: "421", After: "220"},
	{Key: "drain.sessions", Was: `"1h"`, Is: `"1s"`, With: map[string]string{"drain.silence": `"0s"`},
		Observe: (*draining).transaction, Before: "stays", After: "ends"},
	{Key: "drain.silence", Was: `"0s"`, Is: `"1s"`, With: map[string]string{"drain.sessions": `"1h"`},
		Observe: (*draining).transaction, Before: "stays", After: "ends"},
	// The last: core is gone.
	{Key: "drain.flush", Was: `"1h"`, Is: `"1s"`, Observe: (*draining).leftover, Before: "waits", After: "drained"},
}

// The length of each step of a drain comes from the last reload.
func TestReloadedDrain(t *testing.T) {
	t.Parallel()
	d := &draining{t: t, speaker: &controltest.Speaker{State: controltest.SpeakerStatus()}}
	d.speaker.OnAsk = func(s *api.SpeakerStatus) {
		for i := range s.Peers {
			s.Peers[i].Confirmed = !d.silent.Load() || s.Routes != api.Withdrawn
		}
	}
	d.pop = pop.Start(t, pop.Options{SMTP: everywhere(t), CoreConfig: `backoff_max = "1s"`, Config: announced(t, d.speaker, `graceful = "0s"
confirm = "10s"
converge = "0s"
sessions = "1s"
`)})
	d.base = d.pop.Config()
	for _, c := range drainCases {
		t.Run(c.Key, func(t *testing.T) {
			d.t = t
			before, after := c.Values()
			if got := d.run(c, before); got != c.Before {
				t.Errorf("with %s = %s: %q, want %q", c.Key, c.Was, got, c.Before)
			}
			if got := d.run(c, after); got != c.After {
				t.Errorf("with %s = %s: %q, want %q", c.Key, c.Is, got, c.After)
			}
		})
	}
}

// run drains the node with values of keys, and resumes it.
func (d *draining) run(c drainCase, values map[string]string) string {
	d.pop.WriteConfig(pop.WithValues(d.base, values, ""))
	d.pop.Reload()
	d.ordered = len(d.speaker.Orders())
	got := c.Observe(d)
	resume(d.t, d.pop)
	kit.Eventually(d.t, "the speaker announces", func() bool { return strings.HasSuffix(d.speaker.OrderWords(), "announced kept") })
	kit.Eventually(d.t, "the node is in service", func() bool { return status(d.t, d.pop).Ready.OK })
	return got
}

func (d *draining) drain() { drain(d.t, d.pop, api.DrainRequest{Reason: "test"}) }

// commands returns what the speaker was told.
func (d *draining) commands() string {
	d.drain()
	awaitPhase(d.t, d.pop, api.Drained)
	var told []string
	for _, o := range d.speaker.Orders()[d.ordered:] {
		told = append(told, string(o.Routes))
	}
	return strings.Join(told, " ")
}

// unconfirmed observes a drain whose withdrawal no router acknowledges.
func (d *draining) unconfirmed() string {
	d.silent.Store(true)
	defer d.silent.Store(false)
	d.drain()
	if kit.Within(drainPatience, func() bool { return banner(d.t, d.pop.SMTP) == "421" }) {
		return "goes on"
	}
	return "waits"
}

// newClient returns what a client is told that connects after the withdrawal.
func (d *draining) newClient() string {
	d.drain()
	var got string
	kit.Within(drainPatience, func() bool { got = banner(d.t, d.pop.SMTP); return got == "421" })
	return got
}

// transaction observes a session that is in the middle of a transaction, and silent.
func (d *draining) transaction() string {
	conn, err := net.Dial("tcp", strings.Replace(d.pop.SMTP, "0.0.0.0", "127.0.0.1", 1))
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	buf := make([]byte, 4096)
	for _, line := range []string{"", "EHLO a.example\r\n", "MAIL FROM:<a@b.example>\r\n"} {
		if _, err := fmt.Fprint(conn, line); err != nil {
			d.t.Fatal(err)
		}
		if _, err := conn.Read(buf); err != nil {
			d.t.Fatal(err)
		}
	}
	d.drain()
	_ = conn.SetDeadline(time.Now().Add(drainPatience))
	if _, err := conn.Read(buf); err != nil && strings.Contains(err.Error(), "timeout") {
		return "stays"
	}
	return "ends"
}

// leftover observes a drain with a message that core does not take.
func (d *draining) leftover() string {
	d.pop.EmbeddedCore().Kill()
	dial(d.t, d.pop.SMTP).send("a@b.example", "box@example.net", "left")
	d.drain()
	if kit.Within(drainPatience, func() bool { return status(d.t, d.pop).Phase == api.Drained }) {
		return "drained"
	}
	return "waits"
}
