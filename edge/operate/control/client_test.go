package control_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/edge/config"
	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
	"anymx/tests/kit"
)

func start(t *testing.T, n *controltest.Node) *control.Client {
	t.Helper()
	socket, _ := controltest.Start(t, n, false)
	c := control.NewClient(socket)
	t.Cleanup(c.Close)
	return c
}

// long returns a queue of several pages, in which few messages match after the first ones.
func long(n int) *controltest.Node {
	node := controltest.New()
	node.Clear()
	for i := range n {
		m := controltest.Message(i, time.Duration(n-i)*time.Second, 100, fmt.Sprintf("s%d@example.org", i%7), "a@example.net")
		if i%3 == 0 {
			m.State = api.Held
		}
		node.Add(m)
	}
	return node
}

func TestClientStatus(t *testing.T) {
	n := controltest.New()
	c := start(t, n)
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := n.Status(t.Context())
	want.Ready.OK = true
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	v, err := c.Version(t.Context())
	if err != nil || v != api.ThisVersion() {
		t.Errorf("version %+v, %v", v, err)
	}
}

func TestClientWalksPages(t *testing.T) {
	n := long(2500)
	n.Scan = 300 // pages end early
	c := start(t, n)
	for _, tt := range []struct {
		q    api.QueueQuery
		want int
	}{
		{api.QueueQuery{}, 2500},
		{api.QueueQuery{Limit: 7000}, 2500},
		{api.QueueQuery{Limit: 1, After: controltest.ID(2489)}, 10},
		{api.QueueQuery{State: api.Held}, 834},
		{api.QueueQuery{Before: controltest.Now.Add(-1000 * time.Second)}, 1500},
		{api.QueueQuery{State: api.Active}, 0},
	} {
		var ids []mail.ID
		for m, err := range c.Messages(t.Context(), tt.q) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, m.ID)
		}
		if len(ids) != tt.want || !slices.IsSortedFunc(ids, func(a, b mail.ID) int { return slices.Compare(a[:], b[:]) }) {
			t.Errorf("%+v: %d messages, want %d", tt.q, len(ids), tt.want)
		}
		if n, err := c.Count(t.Context(), tt.q); err != nil || n != int64(tt.want) {
			t.Errorf("%+v: counted %d, %v", tt.q, n, err)
		}
	}
	seen := 0
	for range c.Messages(t.Context(), api.QueueQuery{}) {
		if seen++; seen == 3 {
			break // must stop the requests
		}
	}
}

func TestClientMessage(t *testing.T) {
	n := controltest.New()
	c := start(t, n)
	for i := 1; i <= 5; i++ {
		want, _ := n.Show(t.Context(), controltest.ID(i))
		got, err := c.Message(t.Context(), controltest.ID(i))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("message %d: %v\ngot  %+v\nwant %+v", i, err, got, want)
		}
	}
	if _, err := c.Message(t.Context(), controltest.ID(99)); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("a missing message: %v", err)
	}
}

// change collects all parts of a change.
func change(t *testing.T, c *control.Client, a api.Action, ch api.Change) (all api.Changed, parts int) {
	t.Helper()
	for part, err := range c.Change(t.Context(), a, ch) {
		if err != nil {
			t.Fatal(err)
		}
		parts++
		all.Messages = append(all.Messages, part.Messages...)
		all.Pending = append(all.Pending, part.Pending...)
		all.Refused = append(all.Refused, part.Refused...)
	}
	return all, parts
}

func TestClientChangesIDs(t *testing.T) {
	n := long(2500)
	c := start(t, n)
	var ids []mail.ID
	for i := range 2300 {
		ids = append(ids, controltest.ID(i))
	}
	got, parts := change(t, c, api.Delete, api.Change{IDs: ids})
	if len(got.Messages) != 2300 || len(got.Refused) != 0 || parts != 3 || n.Len() != 200 {
		t.Errorf("%d deleted, %d refused, in %d parts; %d are left", len(got.Messages), len(got.Refused), parts, n.Len())
	}
	got, _ = change(t, c, api.Hold, api.Change{IDs: []mail.ID{ids[0], controltest.ID(2400)}, Reason: "look at it"})
	if len(got.Messages) != 1 || got.Messages[0].ID != controltest.ID(2400) {
		t.Errorf("held: %+v", got.Messages)
	}
	if d, err := c.Message(t.Context(), controltest.ID(2400)); err != nil || d.State != api.Held || d.HoldReason != "look at it" {
		t.Errorf("held: %+v, %v", d, err)
	}
	if len(got.Refused) != 1 || got.Refused[0].ID != ids[0] || got.Refused[0].Code != api.NotFound {
		t.Errorf("refused: %+v", got.Refused)
	}
}

func TestClientChangesAll(t *testing.T) {
	n := long(2500)
	n.Scan = 300
	c := start(t, n)
	sender, err := api.ParsePattern("s3@example.org")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := change(t, c, api.Delete, api.Change{All: true, QueueQuery: api.QueueQuery{Sender: sender, State: api.Held}})
	if len(got.Messages) != 119 || n.Len() != 2500-119 {
		t.Errorf("%d deleted, %d left", len(got.Messages), n.Len())
	}
	for _, m := range got.Messages {
		if m.State != api.Held || m.Sender.Local != "s3" {
			t.Errorf("deleted %+v", m)
		}
	}
	got, _ = change(t, c, api.Release, api.Change{All: true})
	if len(got.Messages) != 2500-119 || n.Status(t.Context()).Queue.Held != 0 {
		t.Errorf("%d released, %d still held", len(got.Messages), n.Status(t.Context()).Queue.Held)
	}
}

// A message under delivery is deleted later, one that fails is reported, and the rest is done.
func TestClientDeletesTheRest(t *testing.T) {
	n := controltest.New()
	n.Sick = controltest.ID(1)
	c := start(t, n)
	got, _ := change(t, c, api.Delete, api.Change{All: true})
	if len(got.Messages) != 3 || len(got.Pending) != 1 || got.Pending[0].ID != controltest.ID(4) || got.Pending[0].Size == 0 || n.Len() != 2 {
		t.Errorf("%d deleted, later %+v, %d left", len(got.Messages), got.Pending, n.Len())
	}
	if len(got.Refused) != 1 || got.Refused[0].ID != n.Sick || got.Refused[0].Code != api.Internal || !strings.Contains(got.Refused[0].Reason, "input/output error") {
		t.Errorf("refused: %+v", got.Refused)
	}
	var last error
	for _, err := range c.Change(t.Context(), api.Delete, api.Change{IDs: []mail.ID{n.Sick}}) {
		last = err
	}
	var e *api.Error
	if !errors.As(last, &e) || e.Code != api.Internal {
		t.Errorf("only a failure: %v", last)
	}
}

func TestClientReload(t *testing.T) {
	n := controltest.New()
	c := start(t, n)
	if r, err := c.Reload(t.Context()); err != nil || len(r.Changed) != 1 || r.Restart == nil {
		t.Errorf("%+v, %v", r, err)
	}
	want := config.Problem{File: "f", Line: 3, Column: 1, Key: "node.name", Reason: "missing"}
	n.ReloadErr = &config.Errors{Problems: []config.Problem{want}}
	_, err := c.Reload(t.Context())
	var e *api.Error
	if !errors.As(err, &e) || e.Code != api.BadConfig || !reflect.DeepEqual(e.Problems, []config.Problem{want}) {
		t.Errorf("%+v", err)
	}
}

// loop is a node whose list never ends.
type loop struct{ *controltest.Node }

func (loop) List(context.Context, api.QueueQuery) (api.QueuePage, error) {
	return api.QueuePage{Next: controltest.ID(1)}, nil
}

func TestClientLeavesLoop(t *testing.T) {
	socket, _ := controltest.Start(t, loop{controltest.New()}, false)
	c := control.NewClient(socket)
	defer c.Close()
	if _, err := c.Count(t.Context(), api.QueueQuery{}); err == nil || !strings.Contains(err.Error(), "leads back") {
		t.Errorf("list: %v", err)
	}
	var last error
	for _, err := range c.Change(t.Context(), api.Flush, api.Change{All: true}) {
		last = err
	}
	if last == nil || !strings.Contains(last.Error(), "leads back") {
		t.Errorf("change: %v", last)
	}
}

func TestClientUnreachable(t *testing.T) {
	dir := t.TempDir()
	serve := func(name, answer string) string { // whatever the request
		path := filepath.Join(dir, name)
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		kit.AcceptAll(t, l, func(c net.Conn) {
			c.Read(make([]byte, 4096)) // any request
			c.Write([]byte(answer))    // fails if the client is gone
			c.Close()
		})
		return path
	}
	dead := filepath.Join(dir, "dead")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	http := func(status, body string) string {
		return fmt.Sprintf("HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
	}
	for _, tt := range []struct{ path, want string }{
		{filepath.Join(dir, "none"), "there is no such socket. Is anymx-edge running"},
		{dead, "the program that made the socket has ended"},
		{serve("smtp", "220 mx ESMTP\r\n"), "Is it anymx-edge that listens there"},
		{serve("silent", ""), "Is it anymx-edge that listens there"},
		{serve("html", http("200 OK", "<html>")), "does not speak this protocol"},
		{serve("teapot", http("418 Teapot", "short and stout\nhere")), `says "short and stout" (HTTP 418)`},
		{serve("cut", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "unexpected EOF"},
	} {
		c := control.NewClient(tt.path)
		_, err := c.Status(t.Context())
		c.Close()
		var u *control.Unreachable
		if !errors.As(err, &u) || u.Socket != tt.path || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "http://") {
			t.Errorf("%s: error %v does not say %q", tt.path, err, tt.want)
		}
	}
}

func TestClientIsCancelled(t *testing.T) {
	n := controltest.New()
	n.ReadyHook = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	c := start(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Status(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
