package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"anymx/edge/operate/words"
)

// Journal is what of the journal is shown.
type Journal struct {
	Topic  string // one of Topics; "": all programs of the node
	Lines  int    // the last ones, 1 to MaxLines
	Follow bool   // go on until the context ends
}

// MaxLines is how many lines of the journal are shown at once, at most.
const MaxLines = 5000

// Topics are what a Journal can be about, and the words that choose it: fixed ones, so
// that nothing that was typed reaches a command line.
var topics = []struct {
	name, what string
	args       []string
}{
	{"edge", "the mail program: each mail, sessions, drains", []string{"--unit=anymx-edge.service"}},
	{"bgp", "the BGP speaker: routes and routers", []string{"--unit=anymx-bgp.service"}},
	{"net", "addresses, the tunnel and the shield", []string{"--unit=anymx-net.service"}},
	{"machine", "updates, provisioning, reboots", []string{"--unit=anymx-machine*.service", "--unit=anymx-provision.service", "--unit=anymx-prove.service"}},
	{"kernel", "the kernel, since the boot", []string{"--dmesg"}},
	{"boot", "everything since the boot", []string{"--boot"}},
}

// Topics are the names that Journal.Topic may have, in the order in which they are
// told.
func Topics() []string {
	var names []string
	for _, t := range topics {
		names = append(names, t.name)
	}
	return names
}

// TopicText says what each topic is about, a line each.
func TopicText() string {
	var b strings.Builder
	for _, t := range topics {
		fmt.Fprintf(&b, "  %-8s %s\n", t.name, t.what)
	}
	return strings.TrimRight(b.String(), "\n")
}

// args are the words of journalctl's command line.
func (j Journal) args() ([]string, error) {
	if j.Lines < 1 || j.Lines > MaxLines {
		return nil, fmt.Errorf("%d lines: want 1 to %d", j.Lines, MaxLines)
	}
	args := []string{"--no-pager", "--quiet", "--output=short-iso", "--no-hostname", "--lines=" + strconv.Itoa(j.Lines)}
	if j.Follow {
		args = append(args, "--follow")
	}
	if j.Topic == "" {
		return append(args, "--unit=anymx-*.service"), nil
	}
	for _, t := range topics {
		if t.name == j.Topic {
			return append(args, t.args...), nil
		}
	}
	return nil, fmt.Errorf("there is no log %q: want one of %s", j.Topic, strings.Join(Topics(), ", "))
}

// Check says what is wrong with j.
func (j Journal) Check() error {
	_, err := j.args()
	return err
}

// maxLogLine bounds a line of the journal, in octets; the rest of it is left out.
const maxLogLine = 4096

// Write runs journalctl, the program at path, and writes what it says to w, a line at
// a time and with everything made visible that a terminal would obey: mail logs hold
// what strangers sent. It ends with ctx, without an error.
func (j Journal) Write(ctx context.Context, path string, w io.Writer) error {
	args, err := j.args()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, path, args...)
	// Nothing of the surroundings is handed on: no pager, no colours, no editor.
	cmd.Env = []string{"LANG=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_URLIFY=0", "TERM=dumb"}
	cmd.WaitDelay = 2 * time.Second
	var said tail
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("journalctl: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("journalctl: %w", err)
	}
	written := copyLines(w, out)
	if written != nil {
		stop() // nobody reads on
	}
	err = cmd.Wait()
	switch {
	case written != nil:
		return written
	case err != nil && ctx.Err() == nil:
		return errors.New("journalctl: " + strings.TrimSpace(err.Error()+" "+words.Clean(strings.TrimSpace(said.String()))))
	}
	return nil
}

// copyLines writes what r says to w until r ends. The error is that of w.
func copyLines(w io.Writer, r io.Reader) error {
	lines := bufio.NewReaderSize(r, maxLogLine)
	for {
		line, more, err := lines.ReadLine()
		if err != nil {
			return nil // of what ends: Wait tells how
		}
		text := words.Clean(strings.ReplaceAll(string(line), "\t", "    "))
		for more && err == nil {
			_, more, err = lines.ReadLine()
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
}

// tail keeps the last of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 512
	t.text = append(t.text, p...)
	if n := len(t.text); n > most {
		t.text = t.text[n-most:]
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.text) }
