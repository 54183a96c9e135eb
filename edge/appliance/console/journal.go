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

// Journal selects what to show of the journal.
type Journal struct {
	Topic  string // one of Topics; "": all programs of the node
	Lines  int    // the last ones, 1 to MaxLines
	Follow bool   // go on until the context ends
}

// MaxLines is the limit of lines that are shown at once.
const MaxLines = 5000

// topics are the topics of a Journal with the arguments that select them. They are fixed, so that
// no typed text reaches a command line.
var topics = []struct {
	name, what string
	args       []string
}{
	{"edge", "the mail program: each mail, sessions, drains", []string{"--unit=anymx-edge.service"}},
	{"bgp", "the BGP speaker: routes and routers", []string{"--unit=anymx-bgp.service"}},
	{"net", "addresses, the tunnel and the shield", []string{"--unit=anymx-net.service"}},
	{"machine", "updates, provisioning, reboots", []string{"--unit=anymx-machine*.service", "--unit=anymx-provision.service", "--unit=anymx-confirm.service"}},
	{"kernel", "the kernel, since the boot", []string{"--dmesg"}},
	{"boot", "everything since the boot", []string{"--boot"}},
}

// Topics returns the names that Journal.Topic may have, in the order of their listing.
func Topics() []string {
	var names []string
	for _, t := range topics {
		names = append(names, t.name)
	}
	return names
}

// TopicText describes each topic on a line.
func TopicText() string {
	var b strings.Builder
	for _, t := range topics {
		fmt.Fprintf(&b, "  %-8s %s\n", t.name, t.what)
	}
	return strings.TrimRight(b.String(), "\n")
}

// args returns journalctl's arguments.
func (j Journal) args() ([]string, error) {
	if j.Lines < 1 || j.Lines > MaxLines {
		return nil, fmt.Errorf("%d lines: must be 1 to %d", j.Lines, MaxLines)
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
	return nil, fmt.Errorf("unknown log %q: use one of %s", j.Topic, strings.Join(Topics(), ", "))
}

// Check returns what is wrong with j.
func (j Journal) Check() error {
	_, err := j.args()
	return err
}

// maxLogLine bounds a line of the journal, in bytes; the rest of it is omitted.
const maxLogLine = 4096

// Write runs journalctl, the program at path, and writes its output to w, a line at a time and with
// all terminal control characters made visible: mail logs contain data of strangers. It ends with
// ctx, without an error.
func (j Journal) Write(ctx context.Context, path string, w io.Writer) error {
	args, err := j.args()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, path, args...)
	// Nothing of the environment is passed on: no pager, no colours, no editor.
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
		stop() // nothing reads the rest
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

// copyLines copies lines from r to w until r ends. It returns w's error.
func copyLines(w io.Writer, r io.Reader) error {
	lines := bufio.NewReaderSize(r, maxLogLine)
	for {
		line, more, err := lines.ReadLine()
		if err != nil {
			return nil // Wait reports how it ended
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

// tail stores the end of what is written to it.
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
