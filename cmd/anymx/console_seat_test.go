package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anymx/edge/operate/control/controltest"
)

// seat is a user at a console: the other end of a pseudo-terminal.
type seat struct {
	t      *testing.T
	master *os.File
	ended  chan error
	dir    string

	mu   sync.Mutex
	text string // the output so far
	from int    // offset of the output that is not examined yet
}

// openPty opens a pseudo-terminal.
func openPty(t *testing.T) (master, tty *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal can be made here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal can be opened here: %v", err)
	}
	return os.NewFile(uintptr(fd), "ptmx"), tty
}

// stage is the node under a console.
type stage struct {
	node   *controltest.Node // nil: the node does not answer
	config string            // config lines after [node]
	none   bool              // there is no config
	kind   string            // of the terminal; "": vt220
	files  map[string]string // source, problem, journal
}

func (st stage) sit(t *testing.T) *seat {
	t.Helper()
	master, tty := openPty(t)
	s := &seat{t: t, master: master, ended: make(chan error, 1), dir: t.TempDir()}
	socket := filepath.Join(s.dir, "none.sock")
	if st.node != nil {
		socket, _ = controltest.Start(t, st.node, false)
	}
	if !st.none {
		text := fmt.Sprintf("[node]\nname = 'ams1'\nhostname = 'mx.example.net'\ncontrol = %q\n%s", socket, st.config)
		s.write("anymx.toml", text, 0o600)
	}
	for name, text := range st.files {
		s.write(name, text, 0o700)
	}
	kind := st.kind
	if kind == "" {
		kind = "vt220"
	}
	p := &program{
		in: tty, out: tty, errOut: tty, now: func() time.Time { return controltest.Now },
		getenv:   func(key string) string { return map[string]string{"TERM": kind}[key] },
		terminal: func() bool { return true }, screen: noScreen, poll: time.Millisecond,
		config: filepath.Join(s.dir, "anymx.toml"), configGiven: func() bool { return !st.none },
	}
	c := &consoling{
		program: p, source: filepath.Join(s.dir, "source"), problem: filepath.Join(s.dir, "problem"),
		journal: filepath.Join(s.dir, "journal"), every: 5 * time.Millisecond, look: 5 * time.Millisecond,
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		err := c.run(ctx)
		s.ended <- errors.Join(err, tty.Close())
	}()
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			s.mu.Lock()
			s.text += string(buf[:n])
			s.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-s.ended; err != nil {
			t.Errorf("the console ended with: %v", err)
		}
		master.Close()
		<-read
		if t.Failed() {
			t.Logf("shown:\n%q", s.text)
		}
	})
	return s
}

func (s *seat) write(name, text string, mode os.FileMode) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), mode); err != nil {
		s.t.Fatal(err)
	}
}

// types sends keys.
func (s *seat) types(keys string) {
	s.t.Helper()
	if _, err := s.master.WriteString(keys); err != nil {
		s.t.Fatal(err)
	}
}

// sees waits until text appears after what was seen before, and returns the output up to its end.
func (s *seat) sees(text string) string {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		i := strings.Index(s.text[s.from:], text)
		if i >= 0 {
			seen := s.text[s.from : s.from+i+len(text)]
			s.from += i + len(text)
			s.mu.Unlock()
			return seen
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Fatalf("%q is not shown, but:\n%s", text, s.text[s.from:])
	return ""
}

// runs types a line and returns the output up to the next prompt.
func (s *seat) runs(line string) string {
	s.t.Helper()
	s.types(line + "\r")
	s.sees("\r\n")
	return s.sees("ams1> ")
}
