package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// program is anymx-edge or anymx-core as a child process.
type program struct {
	name string
	log  string // file
	cmd  *exec.Cmd
	file *os.File
	done chan struct{} // closed when it has ended
	err  error         // of Wait; read it after done
	seen bool          // ended has reported that it ended by itself
}

// startProgram starts bin/name with a config file and appends its log to a file. The program has a
// process group of its own, so that a Ctrl-C reaches only us and we stop the programs in order. It
// gets SIGTERM if we are killed.
func startProgram(o options, name, config string) (*program, error) {
	p := &program{name: name, log: filepath.Join(o.state, name+".log"), done: make(chan struct{})}
	file, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p.file = file
	p.cmd = exec.Command(filepath.Join(o.bin, name), "-config", config)
	p.cmd.Stdout, p.cmd.Stderr = file, file
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), file.Close())
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// wait polls until the program is ready or has ended, for ten seconds at most. They include the
// recovery of the spool.
func (p *program) wait(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return p.ended()
		case <-ctx.Done():
			return fmt.Errorf("%s did not become ready within 10 s: %w; see its log %s", p.name, err, p.log)
		case <-tick.C:
		}
	}
}

// ended returns an error for a program that ended by itself, with the last lines of its log.
func (p *program) ended() error {
	p.seen = true
	how := "stopped unexpectedly"
	if p.err != nil {
		how = "stopped unexpectedly (" + p.err.Error() + ")"
	}
	return fmt.Errorf("%s %s; the last lines of its log %s:\n%s", p.name, how, p.log, tail(p.log, 10))
}

// stop sends SIGTERM and waits. It kills the program after limit, or when ctx ends.
func (p *program) stop(ctx context.Context, limit time.Duration) error {
	defer p.file.Close()
	select {
	case <-p.done:
		if p.seen {
			return nil
		}
		return p.ended()
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping %s: %w", p.name, err)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return p.ended()
		}
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	err := p.cmd.Process.Kill()
	<-p.done
	return errors.Join(fmt.Errorf("%s did not stop in time and was killed; see its log %s", p.name, p.log), err)
}

// tail returns the last n lines of a file.
func tail(name string, n int) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

// greets returns a check that an SMTP server at address greets with 220.
func greets(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		dialer := net.Dialer{Timeout: time.Second}
		c, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, "220 ") {
			return fmt.Errorf("banner %q", line)
		}
		_, err = c.Write([]byte("QUIT\r\n"))
		return err
	}
}

// answers returns a check that an HTTP GET of url returns 200.
func answers(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		transport := &http.Transport{DisableKeepAlives: true} // no proxy: this is loopback
		reply, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer reply.Body.Close()
		if reply.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", url, reply.Status)
		}
		return nil
	}
}
