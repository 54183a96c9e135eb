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

	"anymx/tests/kit"
)

// process is the first process of a system and everything that it starts. It leads a session of its own,
// so that its children can be found without a control group, too.
type process struct {
	*kit.Process
	in    io.Closer // its standard input: the benchmark's own servers stop when it is closed
	group *cgroup
}

// clockTick is the unit of the times in /proc/PID/stat.
const clockTick = time.Second / 100

// startProcess starts a program in the group and appends its output to the file log.
func startProcess(group *cgroup, log string, argv ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append([]string{"enter", strings.Join(group.dirs(), ",")}, argv...)
	cmd := exec.Command(self, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p, err := kit.Start(cmd, argv[0], log)
	if err != nil {
		return nil, err
	}
	return &process{Process: p, in: in, group: group}, nil
}

// enterCommand moves itself into control groups and executes another program: DIR,DIR PROGRAM ARGUMENTS.
func enterCommand(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: bench enter DIR,DIR PROGRAM [ARGUMENTS]")
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
	_ = p.Signal(syscall.SIGTERM) // it may have ended
	p.in.Close()
	_ = p.Wait(patience)
	p.Kill()
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

// bannerPatience is how long a connection waits for its banner: postscreen delays the first one by 6 s.
const bannerPatience = 10 * time.Second

// awaitBanner waits until the process greets on address.
func (p *process) awaitBanner(ctx context.Context, address string, limit time.Duration) error {
	return p.Await(ctx, limit, func(context.Context) error {
		c, err := dialClient(address, time.Now().Add(bannerPatience))
		if err != nil {
			return err
		}
		defer c.close()
		if err := c.expect(220); err != nil {
			return fmt.Errorf("no banner on %s: %w", address, err)
		}
		c.command(quit, 221)
		return nil
	})
}

// processes returns the ids of the process and of everything that it has started.
func (p *process) processes() []int {
	if len(p.group.dirs()) > 0 {
		return p.group.processes()
	}
	var pids []int
	eachStat(func(pid int, fields []string) {
		if fields[3] == strconv.Itoa(p.PID()) && fields[0] != "Z" { // of its session and running
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
		if fields[3] != strconv.Itoa(p.PID()) {
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
