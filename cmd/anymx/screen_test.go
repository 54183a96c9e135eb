package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/control/controltest"
	"anymx/edge/operate/words"
)

// terminalScreen emulates as much of a terminal as live needs: it stores the lines, and wraps those
// that are too long.
type terminalScreen struct {
	columns int
	lines   []string
	row     int
}

var sequence = regexp.MustCompile(`^\x1b\[(\d*)([AKJ])`)

func (s *terminalScreen) Write(p []byte) (int, error) {
	column := 0
	put := func(r rune) {
		for len(s.lines) <= s.row {
			s.lines = append(s.lines, "")
		}
		line := []rune(s.lines[s.row])
		if column < len(line) {
			line[column] = r
		} else {
			line = append(line, r)
		}
		s.lines[s.row] = string(line)
		if column++; column == s.columns {
			s.row, column = s.row+1, 0
		}
	}
	for text := string(p); text != ""; {
		if m := sequence.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			switch m[2] {
			case "A":
				n, _ := strconv.Atoi(m[1]) // only digits
				s.row -= n
			case "K":
				if s.row < len(s.lines) {
					s.lines[s.row] = string([]rune(s.lines[s.row])[:min(column, len([]rune(s.lines[s.row])))])
				}
			case "J":
				s.lines = s.lines[:min(s.row, len(s.lines))] // only ever from column 0
			}
			continue
		}
		r := []rune(text)[0]
		text = text[len(string(r)):]
		switch r {
		case '\n':
			if s.row == len(s.lines) {
				s.lines = append(s.lines, "")
			}
			s.row, column = s.row+1, 0
		case '\r':
			column = 0
		default:
			put(r)
		}
	}
	return len(p), nil
}

// Whatever was shown before, the screen holds only the last report.
func TestLiveDrawsInPlace(t *testing.T) {
	screen := &terminalScreen{columns: 20}
	rows := 6
	l := &live{w: screen, size: func() (int, int, bool) { return 20, rows, true }}
	screen.Write([]byte("$ anymx drain\n"))
	long := strings.Repeat("x", 50)
	for _, tt := range []struct{ show, want []string }{
		{[]string{"one", "two", "three"}, []string{"one", "two", "three"}},
		{[]string{"a"}, []string{"a"}},
		{[]string{long, "b"}, []string{long[:18], "b"}},
		{[]string{"c", "b", "a", "4", "5", "6", "7"}, []string{"c", "b", "a", "4", "5"}},
		{[]string{strings.Repeat("日", 30)}, []string{strings.Repeat("日", 9)}},
		{[]string{"end"}, []string{"end"}},
	} {
		l.show(words.Report{Lines: tt.show})
		if want := append([]string{"$ anymx drain"}, tt.want...); !slices.EqualFunc(screen.lines, want, strings.HasPrefix) || len(screen.lines) != len(want) {
			t.Errorf("%q: the screen shows %q, want %q", tt.show, screen.lines, want)
		}
		for _, line := range screen.lines {
			if len([]rune(line)) >= 20 {
				t.Errorf("%q fills the line", line)
			}
		}
	}
	l.clear()
	l.clear()
	screen.Write([]byte("answer\n"))
	if want := []string{"$ anymx drain", "answer"}; !slices.Equal(screen.lines, want) {
		t.Errorf("after clear: %q", screen.lines)
	}
}

// Without a terminal there is a line for each step, and one now and then.
func TestPlainIsQuiet(t *testing.T) {
	var b bytes.Buffer
	now := controltest.Now
	p := &plain{w: &b, now: func() time.Time { return now }}
	for i := range 140 { // 14 s
		step := "graceful"
		if i >= 70 {
			step = "withdraw"
		}
		p.show(words.Report{Step: step, Line: fmt.Sprintf("%s %s", step, now.Sub(controltest.Now))})
		now = now.Add(100 * time.Millisecond)
	}
	if want := "graceful 0s\ngraceful 5s\nwithdraw 7s\nwithdraw 12s\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

// screenText returns what a run of the real program leaves on a terminal, and everything it wrote.
func screenText(t *testing.T, term string, run func(cmd *exec.Cmd, saw func(string)), bin string, args ...string) (code int, raw string) {
	t.Helper()
	master, slave := openTerminal(t)
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "TERM="+term)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var mu sync.Mutex
	ended := make(chan struct{})
	master.SetDeadline(time.Now().Add(30 * time.Second)) // pty files have deadlines
	go func() {
		defer close(ended)
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			mu.Lock()
			raw += string(buf[:n])
			mu.Unlock()
			if err != nil { // EIO: the program has ended
				return
			}
		}
	}()
	run(cmd, func(want string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			mu.Lock()
			text := raw
			mu.Unlock()
			if strings.Contains(text, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the terminal never showed %q:\n%q", want, text)
			}
		}
	})
	<-ended
	cmd.Wait() // the test checks the exit code
	return cmd.ProcessState.ExitCode(), raw
}

// On a real terminal the block is redrawn in place, and the answer replaces it.
func liveDrain(t *testing.T, bin string) {
	node := controltest.New()
	drains(node)
	socket, _ := controltest.Start(t, node, false)
	code, raw := screenText(t, "xterm", func(_ *exec.Cmd, _ func(string)) {}, bin, "drain", "--control", socket)
	screen := &terminalScreen{columns: 100}
	screen.Write([]byte(strings.ReplaceAll(raw, "\r\n", "\n")))
	if text := strings.Join(screen.lines, "\n"); code != exitOK || !strings.HasPrefix(text, "ams1 is drained; it took ") || strings.Contains(text, "of at most") {
		t.Errorf("exit %d, the screen shows:\n%s", code, text)
	}
	if !strings.Contains(raw, "of at most 10s: traffic moves") || !strings.Contains(raw, "\x1b[3A\r") {
		t.Errorf("no progress was drawn in place: %q", raw)
	}

	node = controltest.New()
	drains(node)
	socket, _ = controltest.Start(t, node, false)
	if code, raw := screenText(t, "dumb", func(_ *exec.Cmd, _ func(string)) {}, bin, "drain", "--control", socket); code != exitOK || strings.Contains(raw, "\x1b") {
		t.Errorf("a dumb terminal: exit %d: %q", code, raw)
	}
}

// Ctrl-C ends the command but not the drain, and the output says so.
func interruptedDrain(t *testing.T, bin string) {
	node := controltest.New()
	begins(node)
	node.OnResume = func(s *api.Status) { s.Speaker.Status.Routes = api.Withdrawn } // never healthy
	socket, _ := controltest.Start(t, node, false)
	c := control.NewClient(socket)
	defer c.Close()
	for _, tt := range []struct{ command, shows, says string }{
		{"drain", "ams1 is draining", "the drain goes on: `anymx status` shows how far it is, `anymx resume` undoes it"},
		{"resume", "ams1 is running", "the node goes on by itself"},
	} {
		code, raw := screenText(t, "xterm", func(cmd *exec.Cmd, saw func(string)) {
			saw(tt.shows)
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}, bin, tt.command, "--control", socket)
		if code != exitInterrupted || !strings.Contains(raw, tt.says) {
			t.Errorf("%s: exit %d: %q", tt.command, code, raw)
		}
		s, err := c.Status(t.Context())
		if want := map[string]api.Phase{"drain": api.Draining, "resume": api.Running}[tt.command]; err != nil || s.Phase != want {
			t.Errorf("after %s: %s, %v", tt.command, s.Phase, err)
		}
	}
}
