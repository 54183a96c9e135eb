package machine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"anymx/edge/operate/api"
)

// toolEnv is the whole environment of the programs that are run here.
var toolEnv = []string{"PATH=/usr/bin:/usr/sbin", "LANG=C.UTF-8", "SYSTEMD_COLORS=0", "SYSTEMD_EMOJI=0", "SYSTEMD_PAGER="}

const (
	toolGrace = 10 * time.Second // until a program that was asked to end is killed
	toolLine  = 4 << 10          // bytes of a line that are logged
	toolLast  = 6                // lines that an error contains
)

// run runs a program to its end, and passes each line of its output to say. The error contains the
// last lines.
func run(ctx context.Context, say func(string), command ...string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = toolEnv
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = toolGrace
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		w.Close() // after the last line
		ended <- err
	}()
	var last []string
	in := bufio.NewReaderSize(r, toolLine)
	for {
		line, _, err := in.ReadLine() // a longer one comes in parts
		if err != nil {
			break
		}
		if text := strings.TrimSpace(string(line)); text != "" {
			say(text)
			last = append(last[max(0, len(last)-toolLast+1):], text)
		}
	}
	if err := <-ended; err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
		return fmt.Errorf("%s: %w: %s", strings.Join(command, " "), err, strings.Join(last, "; "))
	}
	return nil
}

// quiet are prefixes of systemd-sysupdate's lines that are of no use to people.
var quiet = []string{"Discovering ", "Determining ", "Imported ", "Operation completed", "Exiting.", "Wrote ", "Found nothing to remove", "Making room"}

// sysupdate runs systemd-sysupdate. Its output is logged, and reported.
func (m *Machine) sysupdate(ctx context.Context, o *operation, args ...string) error {
	return run(ctx, func(line string) {
		m.Log.Info("systemd-sysupdate", "says", line)
		if !slices.ContainsFunc(quiet, func(prefix string) bool { return strings.HasPrefix(line, prefix) }) {
			o.reportText(api.MachineWrite, "%s", line)
		}
	}, append([]string{m.Sysupdate}, args...)...)
}

// systemctl runs systemctl.
func (m *Machine) systemctl(ctx context.Context, args ...string) error {
	return run(ctx, func(line string) { m.Log.Info("systemctl", "says", line) }, append([]string{m.Systemctl}, args...)...)
}

// ReloadUnits makes systemd read its units again.
func ReloadUnits(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, downLimit)
	defer cancel()
	return run(ctx, func(string) {}, "/usr/bin/systemctl", "daemon-reload")
}
