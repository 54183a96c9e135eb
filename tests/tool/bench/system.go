package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// system is a mail server that can be measured. To add one, implement this and list it in newSystem.
type system interface {
	// name is what the command line and the table call it.
	name() string
	// check makes ready what the machine needs once, such as a package. An error means that
	// the system cannot be measured here.
	check(ctx context.Context) error
	// describe says version and settings for the document. It is called after check.
	describe() description
	// start configures a fresh instance below place.dir and starts it. It returns when the instance greets.
	start(ctx context.Context, place place) (*process, error)
}

// description is what the document says of a system.
type description struct {
	Title    string `json:"title"`    // name and version
	Settings string `json:"settings"` // what differs from its defaults; "" for nothing
}

// place is what an instance of a system is given.
type place struct {
	dir     string  // its own folder, for configuration, spool and logs
	address string  // where it has to listen
	sink    string  // where it has to relay to
	cert    string  // PEM files for STARTTLS
	key     string  //
	sockets string  // a folder with a short path: a unix socket's may have 107 bytes only
	group   *cgroup // where its processes live
}

// newSystem returns the system of that name.
func newSystem(name string, opts options) (system, error) {
	switch name {
	case "postfix":
		return &postfix{}, nil
	case "anymx":
		return &anymx{binary: opts.anymx}, nil
	case "discard":
		return discardSystem{}, nil
	case "sink":
		return sinkSystem{}, nil
	}
	return nil, fmt.Errorf("unknown system %q", name)
}

// startPatience is how long a system may take to greet.
const startPatience = 20 * time.Second

// stopPatience is how long a system may take to end after SIGTERM.
const stopPatience = 20 * time.Second

// instance is a system that runs.
type instance struct {
	system  system
	place   place
	process *process
}

// startInstance starts a system in a fresh folder below dir, with a free port and a group of its own.
func startInstance(ctx context.Context, s system, dir string, shared place) (*instance, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p := shared
	p.address = address
	if p.dir, err = os.MkdirTemp(dir, s.name()+"-"); err != nil {
		return nil, err
	}
	// The daemons of a system may run as other users.
	if err := os.Chmod(p.dir, 0o755); err != nil {
		return nil, err
	}
	p.group = newCgroup(filepath.Base(p.dir))
	proc, err := s.start(ctx, p)
	if err != nil {
		p.group.remove()
		return nil, fmt.Errorf("%s: %w", s.name(), err)
	}
	return &instance{system: s, place: p, process: proc}, nil
}

// startServer starts a program that listens on the place's address and waits for its banner.
func startServer(ctx context.Context, p place, argv ...string) (*process, error) {
	proc, err := startProcess(p.group, filepath.Join(p.dir, "log"), argv...)
	if err != nil {
		return nil, err
	}
	if err := proc.awaitBanner(ctx, p.address, startPatience); err != nil {
		proc.stop(stopPatience)
		return nil, err
	}
	return proc, nil
}

// stop ends the instance and removes its group and, unless keep is set, its folder.
func (i *instance) stop(keep bool) error {
	i.process.stop(stopPatience)
	if err := i.place.group.remove(); err != nil {
		return fmt.Errorf("%s: control group: %w", i.system.name(), err)
	}
	if keep {
		return nil
	}
	return os.RemoveAll(i.place.dir)
}

// freeAddress is a loopback address whose port is free at this moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
