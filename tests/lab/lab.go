package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Options are the options of Up.
type Options struct {
	// Name is Person, or "" for a run that ends with this process.
	Name string
	// Bin is the directory with our programs.
	Bin string
	// Beside adds another node at r1, which announces prefixes of its own with BIRD: withdrawals
	// are compared with it.
	Beside bool
	// Guest lets a virtual machine replace PoP a: instead of node A there is a socket for the
	// machine's network card, see Guest.
	Guest bool
	// Alone omits r2 and everything beyond it. It is for a user namespace, where FRR and the nodes
	// can't run as users of their own.
	Alone bool
	// Keys is a file that stores the WireGuard keys and is created if missing, for a guest that
	// outlives a lab. "": the lab uses new keys.
	Keys string
	// Say gets a line for each step; it may be nil.
	Say io.Writer
}

// Lab is a network with its routers, core and nodes.
type Lab struct {
	Name string // of the run
	Dir  string // all files: configs, logs, state

	R1   *BIRD
	R2   *FRR
	Core *Core
	// A and B are the nodes: A is nil if there is a Guest, B and R2 are nil if the lab is Alone.
	A, B  *Node
	Guest *Guest
	// Beside is the BIRD that announces prefixes, if Options.Beside is set.
	Beside *BIRD

	ClientA, ClientB *Namespace

	options Options
	lock    *os.File
	keys    keys
	spaces  map[string]*Namespace
	numbers atomic.Int64 // of the last message
}

// Up creates the network and starts the routers and core. The programs of the nodes are not started
// yet: see Node.Start. If it fails, it leaves nothing.
func Up(ctx context.Context, o Options) (_ *Lab, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces want root")
	}
	if o.Say == nil {
		o.Say = io.Discard
	}
	dir, lock, err := claim(ctx, o.Name)
	if err != nil {
		return nil, err
	}
	l := &Lab{Name: filepath.Base(dir), Dir: dir, options: o, lock: lock, spaces: make(map[string]*Namespace)}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Down(context.WithoutCancel(ctx)))
		}
	}()
	if err := errors.Join(os.Mkdir(l.file("log"), 0o755), os.Mkdir(l.file("bin"), 0o755)); err != nil {
		return nil, err
	}
	if err := l.bring(o.Bin); err != nil {
		return nil, err
	}
	if l.keys, err = newKeys(o.Keys); err != nil {
		return nil, err
	}
	l.say("namespaces and links")
	if err := l.plug(ctx); err != nil {
		return nil, err
	}
	l.ClientA, l.ClientB = l.spaces["client-a"], l.spaces["client-b"]
	if err := l.routers(ctx); err != nil {
		return nil, err
	}
	l.say("core: wireguard-go and anymx-core")
	if l.Core, err = l.startCore(ctx); err != nil {
		return nil, err
	}
	if o.Guest {
		l.Guest, err = l.newGuest(ctx)
	} else {
		l.A, err = l.newNode(siteA)
	}
	if err != nil || o.Alone {
		return l, err
	}
	if l.B, err = l.newNode(siteB); err != nil {
		return nil, err
	}
	return l, l.converge(ctx)
}

// routers starts BIRD and FRR.
func (l *Lab) routers(ctx context.Context) (err error) {
	if l.options.Alone {
		l.say("router: BIRD")
	} else {
		l.say("routers: BIRD and FRR")
	}
	config := r1Config
	if l.options.Beside {
		config += r1Beside
	}
	if l.R1, err = l.startBIRD(ctx, "r1", config); err != nil {
		return err
	}
	if !l.options.Alone {
		if l.R2, err = l.startFRR(ctx, l.spaces["r2"], r2Config); err != nil {
			return err
		}
	}
	if l.options.Beside {
		l.Beside, err = l.startBIRD(ctx, "beside", besideConfig)
	}
	return err
}

// converge waits until each router's kernel has learned the routes beyond the other router.
func (l *Lab) converge(ctx context.Context) error {
	for _, want := range []struct {
		routes *Watch
		prefix string
	}{
		{l.R1.Routes, "10.64.2.0/24"}, {l.R1.Routes, "2001:db8:2::/64"},
		{l.R2.Routes, "203.0.113.0/24"}, {l.R2.Routes, "2001:db8:1::/64"},
	} {
		if _, err := want.routes.Await(ctx, want.prefix, "!::", 30*time.Second); err != nil {
			return fmt.Errorf("the routers do not hear of each other: %w", err)
		}
	}
	return nil
}

// bring copies our programs to where users other than root can run them.
func (l *Lab) bring(from string) error {
	for _, name := range []string{"anymx", "anymx-bgp", "anymx-core", "anymx-edge", "anymx-net"} {
		in, out := filepath.Join(from, name), l.file("bin", name)
		if os.Link(in, out) == nil {
			continue
		}
		text, err := os.ReadFile(in) // it is on another file system
		if err == nil {
			err = os.WriteFile(out, text, 0o755)
		}
		if err != nil {
			return fmt.Errorf("program %s: %w", name, err)
		}
	}
	return nil
}

// Down ends all processes of the lab and removes it.
func (l *Lab) Down(ctx context.Context) error {
	failed := l.let()
	return errors.Join(failed, Remove(ctx, l.Name), l.lock.Close())
}

// let releases what this process holds of the lab.
func (l *Lab) let() error {
	var failed error
	for _, b := range []*BIRD{l.R1, l.Beside} {
		if b != nil && b.Routes != nil {
			failed = errors.Join(failed, b.Routes.Close())
		}
	}
	if l.R2 != nil && l.R2.Routes != nil {
		failed = errors.Join(failed, l.R2.Routes.Close())
	}
	for _, n := range []*Node{l.A, l.B} {
		if n != nil {
			n.Client.Close()
			n.Speaker.Close()
			n.Network.Close()
			failed = errors.Join(failed, n.Tap.counts.Close())
		}
	}
	if l.Guest != nil && l.Guest.Tap != nil {
		failed = errors.Join(failed, l.Guest.Tap.counts.Close())
	}
	for _, n := range l.spaces {
		failed = errors.Join(failed, n.file.Close())
	}
	return failed
}

// Keep lets a person's lab continue without this process.
func (l *Lab) Keep() error { return errors.Join(l.let(), l.lock.Close()) }

// Space returns the namespace of a role: "a", "b", "r1", "r2", "core", "client-a" or "client-b".
func (l *Lab) Space(role string) *Namespace { return l.spaces[role] }

func (l *Lab) file(parts ...string) string {
	return filepath.Join(append([]string{l.Dir}, parts...)...)
}

func (l *Lab) log(name string) string { return l.file("log", name+".log") }

func (l *Lab) say(format string, args ...any) { fmt.Fprintf(l.options.Say, "  "+format+"\n", args...) }
