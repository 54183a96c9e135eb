package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is the first process of a system and everything that it starts. It leads a session of its own,
// so that its children can be found without a control group, too.
type process struct {
	cmd    *exec.Cmd
	in     io.Closer // its standard input; the benchmark's own servers stop when it is closed
	group  *cgroup
	log    string // file with its output
	exited chan struct{}
}

// clockTick is the unit of the times in /proc/PID/stat.
const clockTick = time.Second / 100

// startProcess starts a program in the group and appends its output to the file log.
func startProcess(group *cgroup, log string, argv ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	args := append([]string{"enter", strings.Join(group.dirs(), ",")}, argv...)
	p := &process{cmd: exec.Command(self, args...), group: group, log: log, exited: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", argv[0], err)
	}
	go func() {
		defer close(p.exited)
		p.cmd.Wait()
	}()
	return p, nil
}

// enterCommand moves itself into control groups and executes another program: DIR,DIR PROGRAM ARGUMENTS.
func enterCommand(args []string) error {
	if len(args) < 2 {
		return errors.New("enter: usage: enter DIR,DIR PROGRAM [ARGUMENT]...")
	}
	if args[0] != "" {
		if err := enter(strings.Split(args[0], ",")); err != nil {
			return err
		}
	}
	path, err := exec.LookPath(args[1])
	if err != nil {
		return err
	}
	// If the benchmark is killed, the system gets SIGTERM. The setting belongs to the thread that calls
	// exec. A program that changes its user loses it, as Postfix's master does; removeLeftovers finds
	// that one.
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGTERM), 0, 0, 0); err != nil {
		return fmt.Errorf("parent death signal: %w", err)
	}
	return fmt.Errorf("%s: %w", path, syscall.Exec(path, args[1:], os.Environ()))
}

// stop sends SIGTERM and waits. After patience it kills the process and everything that it has started.
func (p *process) stop(patience time.Duration) {
	p.cmd.Process.Signal(syscall.SIGTERM)
	p.in.Close()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
	}
	p.cmd.Process.Kill() // without effect if it has ended
	<-p.exited
	for range 100 {
		rest := p.processes()
		if len(rest) == 0 {
			return
		}
		for _, pid := range rest {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tail returns the end of the log for an error message.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 1500
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return strings.TrimSpace(string(text))
}

// awaitBanner waits until the process greets on address.
func (p *process) awaitBanner(ctx context.Context, address string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		c, err := dialClient(address, time.Now().Add(time.Second))
		if err == nil {
			err = c.expect(220)
			if err == nil {
				c.command(quit, 221)
			}
			c.close()
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s stopped at its start: %s", p.cmd.Args[3], p.tail())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no banner on %s within %v: %w; %s", address, limit, err, p.tail())
		}
	}
}

// processes returns the ids of the process and of everything that it has started.
func (p *process) processes() []int {
	if len(p.group.dirs()) > 0 {
		return p.group.processes()
	}
	var pids []int
	eachStat(func(pid int, fields []string) {
		if fields[3] == strconv.Itoa(p.cmd.Process.Pid) && fields[0] != "Z" { // of its session and running
			pids = append(pids, pid)
		}
	})
	return pids
}

// cpuTime returns the CPU time of the process and of everything that it has started.
func (p *process) cpuTime() time.Duration {
	if used, ok := p.group.cpuTime(); ok {
		return used
	}
	var ticks int64
	eachStat(func(_ int, fields []string) {
		if fields[3] != strconv.Itoa(p.cmd.Process.Pid) {
			return
		}
		for _, f := range fields[11:15] { // utime, stime and those of children that were waited for
			n, _ := strconv.ParseInt(f, 10, 64)
			ticks += n
		}
	})
	return time.Duration(ticks) * clockTick
}

// eachStat calls f with the fields of /proc/PID/stat after the command, state first, of each process.
func eachStat(f func(pid int, fields []string)) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // ended meanwhile
		}
		end := strings.LastIndexByte(string(text), ')')
		fields := strings.Fields(string(text[end+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && len(fields) > 15 {
			f(pid, fields)
		}
	}
}
