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

// program is one of ours as a child process.
type program struct {
	name string
	log  string // file
	cmd  *exec.Cmd
	file *os.File
	done chan struct{} // closed when it has ended
	err  error         // of its end; read after done
	told bool          // that it ended by itself
}

// startProgram starts bin/name with a config file. What it logs is appended to
// a file. It is in a process group of its own, so that a Ctrl-C comes to us
// alone and we stop the programs in order; and it is asked to end if we are
// killed.
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

// wait polls until the program is ready, has ended, or has had ten seconds:
// recovery of what is in the spool is part of them.
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
			return fmt.Errorf("%s is not ready: %w; its log is %s", p.name, err, p.log)
		case <-tick.C:
		}
	}
}

// ended says how a program ended that should not have, with the end of its log.
func (p *program) ended() error {
	p.told = true
	how := "ended"
	if p.err != nil {
		how = "ended (" + p.err.Error() + ")"
	}
	return fmt.Errorf("%s %s; its log %s ends:\n%s", p.name, how, p.log, tail(p.log, 10))
}

// stop asks the program to end, waits, and kills it when it takes longer than
// limit or ctx ends.
func (p *program) stop(ctx context.Context, limit time.Duration) error {
	defer p.file.Close()
	select {
	case <-p.done:
		if p.told {
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
	return errors.Join(fmt.Errorf("%s did not stop in time and was killed; its log is %s", p.name, p.log), err)
}

// tail is the last n lines of a file, for an error.
func tail(name string, n int) string {
	text, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-n):], "\n")
}

// greets is ready when an SMTP server at address says 220.
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

// answers is ready when an HTTP GET is answered with 200.
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
