package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"anymx/tests/kit"
)

// system is a mail server that can be measured. To add one, implement system and list it in newSystem.
type system interface {
	// name returns the name on the command line and in the table.
	name() string
	// check checks that the system can be measured on this machine.
	check(ctx context.Context) error
	// describe returns version and settings for the document. It is called after check.
	describe() description
	// start configures a new instance below place.dir and starts it. It returns after its first banner.
	start(ctx context.Context, place place) (*process, error)
}

// description describes a system in the document.
type description struct {
	Title    string `json:"title"`    // name and version
	Settings string `json:"settings"` // that differ from the defaults; "" if none
}

// place tells an instance of a system where to run.
type place struct {
	dir     string // its own folder, for configuration, spool and logs
	address string // to listen on
	sink    string // address to relay to
	cert    string // PEM files for STARTTLS
	key     string
	sockets string  // a folder with a short path, because a unix socket's has 107 bytes at most
	memory  int64   // limit of the group in bytes; 0: none
	group   *cgroup // of its processes
}

// newSystem returns the system of that name.
func newSystem(name string, opts options) (system, error) {
	switch name {
	case "postfix":
		return &postfix{}, nil
	case "anymx":
		return &anymx{binary: opts.anymx}, nil
	case "chasquid":
		return &chasquid{}, nil
	case "discard":
		return discardSystem{}, nil
	case "sink":
		return sinkSystem{}, nil
	}
	return nil, fmt.Errorf("-systems: unknown system %q; known are postfix, anymx, chasquid, discard and sink", name)
}

// startPatience is how long a system may take until its first banner.
const startPatience = 20 * time.Second

// stopPatience is how long a system may take to stop after SIGTERM.
const stopPatience = 20 * time.Second

// instance is a running system.
type instance struct {
	system  system
	place   place
	process *process
}

// startInstance starts a system in a new folder below dir, with a free port and a group of its own.
func startInstance(ctx context.Context, s system, dir string, shared place) (*instance, error) {
	address, err := kit.FreeAddress()
	if err != nil {
		return nil, err
	}
	p := shared
	p.address = address.String()
	if p.dir, err = os.MkdirTemp(dir, s.name()+"-"); err != nil {
		return nil, err
	}
	// The daemons of a system may run as other users.
	if err := os.Chmod(p.dir, 0o755); err != nil {
		return nil, err
	}
	p.group = newCgroup(filepath.Base(p.dir))
	if p.memory > 0 {
		err = p.group.limitMemory(p.memory)
	}
	var proc *process
	if err == nil {
		proc, err = s.start(ctx, p)
	}
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

// stop stops the instance and removes its group and, unless keep is set, its folder.
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
