package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// attackJob is what -run matches for the job that attacks the systems. It has a section of its own in the
// document.
const attackJob = "attack"

const (
	attackBegin = "<!-- attack: begin, written by make bench -->"
	attackEnd   = "<!-- attack: end -->"
)

// attackLead is how long an attack goes on before good mail comes: postscreen lets a client wait for 6 s.
const attackLead = 10 * time.Second

// attackMemory is the limit of a system's control group.
const attackMemory = 400 << 20

// runAttack attacks each system while good mail comes, in network and mount namespaces of their own.
func runAttack(ctx context.Context, opts options, progress io.Writer) (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("needs root for namespaces, control groups and a file system")
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	cmd := exec.CommandContext(ctx, self, "attack", "-anymx", opts.anymx, "-dir", opts.dir,
		"-systems", strings.Join(opts.systems, ","), "-rounds", fmt.Sprint(opts.rounds), fmt.Sprintf("-short=%v", opts.short))
	cmd.Stdout, cmd.Stderr = &text, progress
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	return text.String(), err
}

// attackCommand is the process in the namespaces.
func attackCommand(args []string, stdout, stderr io.Writer) error {
	opts := options{}
	fs := flag.NewFlagSet("attack", flag.ContinueOnError)
	fs.StringVar(&opts.anymx, "anymx", "", "")
	fs.StringVar(&opts.dir, "dir", "", "")
	systems := fs.String("systems", "", "")
	fs.IntVar(&opts.rounds, "rounds", 1, "")
	fs.BoolVar(&opts.short, "short", false, "")
	if err := fs.Parse(args); err != nil {
		return err
	}
	opts.systems = strings.Split(*systems, ",")
	if err := raiseFileLimit(); err != nil {
		return err
	}
	for _, cmd := range []*exec.Cmd{
		exec.Command("mount", "--make-rprivate", "/"),
		exec.Command("ip", "link", "set", "lo", "up"),
		exec.Command("ip", "-6", "route", "add", "local", attackNetwork, "dev", "lo"),
		exec.Command("ip", "-6", "route", "add", "local", goodNetwork, "dev", "lo"),
	} {
		if err := runTool(cmd); err != nil {
			return err
		}
	}
	r := &attackRun{b: newBench(opts, stderr), results: map[string][]attackResult{}}
	err := r.run(context.Background())
	if err == nil {
		r.write(stdout)
	}
	return err
}

// attackRun is one run of all attacks on all systems.
type attackRun struct {
	b       *bench
	systems []attacked
	results map[string][]attackResult // by attack and system
}

// attacked is a system as an operator would set it up against attacks.
type attacked interface {
	system
	// guard sets it up for attacks; small says that its disk is small.
	guard(small bool)
	// ready reports whether the system says of itself that it is in service. A system that says nothing
	// of itself is.
	ready() bool
}

func (r *attackRun) run(ctx context.Context) (err error) {
	b := r.b
	for _, name := range b.opts.systems {
		s, err := newSystem(name, b.opts)
		if err != nil {
			return err
		}
		a, ok := s.(attacked)
		if !ok {
			continue
		}
		if err := s.check(ctx); err != nil {
			return err
		}
		r.systems = append(r.systems, a)
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.setUp(); err != nil {
		return err
	}
	for round := range b.opts.rounds {
		for i := range attacks {
			order := slices.Clone(r.systems)
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, s := range order {
				got, err := r.attack(ctx, &attacks[i], s)
				if err != nil {
					return fmt.Errorf("%s on %s: %w", attacks[i].name, s.name(), err)
				}
				key := attacks[i].name + " " + s.name()
				r.results[key] = append(r.results[key], got)
				b.say("%s round %d: %+v", key, round+1, got)
			}
		}
	}
	return nil
}

// attackResult is what good mail met during an attack, and what became of the system.
type attackResult struct {
	Sent, First, Late int // messages; accepted at the first attempt, and at a later one
	Missing           int // accepted, and not at the far side afterwards
	P50, P99          time.Duration
	Memory            int64 // the peak of the control group, in bytes
	Killed            int64 // processes that the kernel ended for lack of memory
	Unready           int   // looks, one a second, at which the system was not in service
	Alive             bool
}

// attack runs one attack on a fresh instance.
func (r *attackRun) attack(ctx context.Context, a *attack, s attacked) (got attackResult, err error) {
	dir := r.b.dir
	if a.disk > 0 {
		mounted, unmount, err := smallDisk(r.b.dir, a.disk)
		if err != nil {
			return got, err
		}
		dir = mounted
		defer func() { err = errors.Join(err, unmount()) }()
	}
	s.guard(a.disk > 0)
	shared := r.b.shared
	shared.memory = attackMemory
	i, err := startInstance(ctx, s, dir, shared)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, i.stop(r.b.opts.keep)) }()

	// The networks that good mail comes from are known before the attack.
	length := pick(r.b.opts.short, 8*time.Second, 20*time.Second)
	g := &goodMail{b: r.b, address: i.place.address}
	if err := g.introduce(ctx); err != nil {
		return got, err
	}
	attackCtx, end := context.WithCancel(ctx)
	ended := a.startClients(attackCtx, i.place.address)
	defer func() { end(); <-ended }()
	select {
	case <-time.After(attackLead):
	case <-ctx.Done():
		return got, ctx.Err()
	}
	looking, stopLooking := context.WithCancel(ctx)
	unready := make(chan int, 1)
	go func() { unready <- lookReady(looking, s) }()
	got, err = g.send(ctx, length)
	stopLooking()
	got.Unready = <-unready
	got.Alive = i.process.Running()
	got.Memory, got.Killed = i.place.group.memoryPeak(), i.place.group.killed()
	end()
	<-ended
	if err == nil {
		got.Missing, err = g.missing(ctx)
	}
	return got, err
}

// lookReady counts the looks at which s was not ready.
func lookReady(ctx context.Context, s attacked) (unready int) {
	for {
		if !s.ready() && ctx.Err() == nil {
			unready++
		}
		select {
		case <-ctx.Done():
			return unready
		case <-time.After(time.Second):
		}
	}
}

// smallDisk mounts a file system of size bytes below dir.
func smallDisk(dir string, size int64) (mounted string, unmount func() error, err error) {
	file := filepath.Join(dir, "disk.img")
	mounted = filepath.Join(dir, "disk")
	if err := os.MkdirAll(mounted, 0o755); err != nil {
		return "", nil, err
	}
	f, err := os.Create(file)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		return "", nil, err
	}
	if err := runTool(exec.Command("mkfs.ext4", "-q", "-m", "0", file)); err != nil {
		return "", nil, err
	}
	if err := runTool(exec.Command("mount", "-o", "loop", file, mounted)); err != nil {
		return "", nil, err
	}
	return mounted, func() error {
		return errors.Join(runTool(exec.Command("umount", mounted)), os.Remove(file))
	}, nil
}

// runTool runs a tool to its end. The error has what it printed.
func runTool(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
