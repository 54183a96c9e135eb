package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
)

// watched is a buffer that a test can wait for.
type watched struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func (w *watched) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(w.String(), text); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q was never said: %s", text, w.String())
		}
	}
}

// serveAt serves n on a socket at path until stop is called.
func serveAt(t *testing.T, path string, n control.Node) (stop func()) {
	t.Helper()
	s, err := control.New(control.Options{Node: n})
	if err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, nil) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

// startProgram runs the command line in the background.
func startProgram(t *testing.T, args ...string) (out, errOut *watched, code chan int) {
	out, errOut, code = &watched{}, &watched{}, make(chan int, 1)
	p := &program{
		in: strings.NewReader(""), out: out, errOut: errOut, now: func() time.Time { return controltest.Now },
		getenv: func(string) string { return "" }, terminal: func() bool { return false },
		screen: noScreen, poll: time.Millisecond,
	}
	go func() { code <- p.run(t.Context(), args) }()
	return out, errOut, code
}

// A drain is on disk: a restarted mail program continues it, and a command that waits for it keeps
// waiting.
func TestDrainOutlivesRestart(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "edge.sock")
	before, after := controltest.New(), controltest.New()
	begins(before)
	drained(after)
	stop := serveAt(t, socket, before)
	defer stop()
	out, errOut, code := startProgram(t, "drain", "--control", socket)
	errOut.waitFor(t, "draining, graceful")
	stop()
	errOut.waitFor(t, "anymx-edge has not answered for 0s; before: draining, graceful")
	defer serveAt(t, socket, after)()
	if c := <-code; c != exitOK || !strings.HasPrefix(out.String(), "ams1 is drained;") {
		t.Errorf("exit %d: %s%s", c, out, errOut)
	}
}

// A node that does not return within the wait is unreachable.
func TestDrainOfLostNode(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "edge.sock")
	n := controltest.New()
	begins(n)
	stop := serveAt(t, socket, n)
	defer stop()
	_, errOut, code := startProgram(t, "drain", "--wait", "1s", "--control", socket)
	errOut.waitFor(t, "draining, graceful")
	stop()
	if c := <-code; c != exitUnreachable || !strings.Contains(errOut.String(), "and goes on when anymx-edge is back") {
		t.Errorf("exit %d: %s", c, errOut)
	}
}

// The command does not wait for a process that was about to end and has ended.
func TestDrainOfNodeThatEnds(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "edge.sock")
	n := controltest.New()
	begins(n)
	began := n.OnDrain
	n.OnDrain = func(s *api.Status) { began(s); s.Drain.Stopping = true }
	stop := serveAt(t, socket, n)
	defer stop()
	_, errOut, code := startProgram(t, "drain", "--control", socket)
	errOut.waitFor(t, "draining, graceful")
	stop()
	if c := <-code; c != exitUnreachable {
		t.Errorf("exit %d: %s", c, errOut)
	}
}

// The command controls only the speaker of the selected node in its place, and queries only its
// anymx-net.
func TestSpeakerIsOfTheSameNode(t *testing.T) {
	dir := t.TempDir()
	node, other := filepath.Join(dir, "edge.sock"), filepath.Join(dir, "other.sock")
	file := filepath.Join(dir, "anymx.toml")
	const standard = "/run/anymx/net.sock"
	beside := filepath.Join(dir, "net.sock")
	p := &program{config: file, now: time.Now}
	text := fmt.Sprintf("[node]\ncontrol = %q\n[bgp]\ncontrol = \"/run/bgp.sock\"\n", node)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		flag, env string
		given     bool // --config
		want      control.Sockets
	}{
		{"", "", false, control.Sockets{Node: node, Speaker: "/run/bgp.sock", Network: standard}},
		{node, "", false, control.Sockets{Node: node, Speaker: "/run/bgp.sock", Network: standard}},
		{"", node, false, control.Sockets{Node: node, Speaker: "/run/bgp.sock", Network: standard}},
		{other, "", false, control.Sockets{Node: other, Network: beside}},
		{"", other, false, control.Sockets{Node: other, Network: beside}},
		{other, node, false, control.Sockets{Node: other, Network: beside}},
		{other, "", true, control.Sockets{Node: other, Speaker: "/run/bgp.sock", Network: standard}},
	} {
		p.socket, p.getenv, p.configGiven = tt.flag, func(string) string { return tt.env }, func() bool { return tt.given }
		if got, err := p.sockets(); err != nil || got != tt.want {
			t.Errorf("%+v: %+v, %v", tt, got, err)
		}
	}
	p.config, p.socket = filepath.Join(dir, "missing"), other
	for _, given := range []bool{false, true} {
		p.configGiven = func() bool { return given }
		if got, err := p.sockets(); err != nil || got != (control.Sockets{Node: other, Network: beside}) {
			t.Errorf("no config: %+v, %v", got, err)
		}
	}
}

// The speaker gets the desired state once, as one to keep.
func TestSpeakerIsOrdered(t *testing.T) {
	for command, want := range map[string]api.DesiredState{
		"drain --reason broken": {Routes: api.Withdrawn, Reason: "broken", Keep: true},
		"resume":                {Routes: api.Announced, Keep: true},
	} {
		speaker := confirms()
		socket := controltest.StartSpeaker(t, speaker)
		s := story{args: command}
		if _, errOut, code := s.runProgram(t, control.Sockets{Node: filepath.Join(t.TempDir(), "none"), Speaker: socket}); code != exitNo {
			t.Errorf("%s: exit %d: %s", command, code, errOut)
		}
		if got := speaker.Orders(); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %+v", command, got)
		}
	}
	// A speaker that does not answer either leaves the output unchanged.
	s := story{args: "drain"}
	none := filepath.Join(t.TempDir(), "none")
	out, errOut, code := s.runProgram(t, control.Sockets{Node: none, Speaker: none + ".bgp"})
	if code != exitUnreachable || out != "" || !strings.Contains(errOut, "no anymx-bgp answers") || !strings.Contains(errOut, "no node answers") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
}
