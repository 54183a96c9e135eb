package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"anymx/tests/lab"
	"anymx/tests/vm"
)

// bootJob is what -run matches for the job that boots the appliance in QEMU, beside
// a plain Debian. It has a section of its own in the document.
const bootJob = "boot"

const (
	bootBegin = "<!-- boot: begin, written by make bench -->"
	bootEnd   = "<!-- boot: end -->"
)

// Both machines have this, and the same disk, network card and firmware.
const (
	bootMemory = 1024 // MiB
	bootCPUs   = 2
)

// bootReport is what the job has found.
type bootReport struct {
	started, ended time.Time
	machine        []string
	accel          vm.Accelerated
	systems        []*bootSystem
}

// bootSystem is a machine that is booted, with its figures.
type bootSystem struct {
	name  string
	image string // its disk, a raw file
	bare  bool   // its image contains its config
	sizes sample // in bytes
	boots result
}

// runBoot finds or builds the images and boots each in every round: first from a disk that was just
// flashed, then again from the same disk.
func runBoot(ctx context.Context, opts options, progress io.Writer) (text string, err error) {
	if os.Geteuid() != 0 {
		return "", errors.New("needs root for network namespaces")
	}
	// The time is read when a line, a banner or a route arrives: nothing may delay that.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	dir, err := filepath.Abs(opts.dir)
	if err != nil {
		return "", err
	}
	r := &bootReport{started: time.Now(), machine: describeMachine(dir), accel: vm.Accelerator(ctx)}
	if r.systems, err = bootSystems(ctx, opts, progress); err != nil {
		return "", err
	}
	l, err := lab.Up(ctx, lab.Options{Bin: filepath.Dir(opts.anymx), Guest: true, Alone: true})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Down(context.WithoutCancel(ctx))) }()
	if err := hurryNeighbours(l); err != nil {
		return "", err
	}
	for range opts.rounds {
		for _, s := range r.systems {
			got, err := s.round(ctx, l, dir)
			if err != nil {
				return "", fmt.Errorf("%s: %w", s.name, err)
			}
			fmt.Fprintf(progress, "boot: %s: %v\n", s.name, got)
			s.boots.Rounds = append(s.boots.Rounds, got)
		}
	}
	r.ended = time.Now()
	return r.markdown(), nil
}

// bootSystems returns the appliance (the image of -image, or the newest) and the machine that it is
// compared with.
func bootSystems(ctx context.Context, opts options, progress io.Writer) ([]*bootSystem, error) {
	const output = "bin/image"
	image := cmp.Or(opts.image, newestImage(output))
	if image == "" {
		fmt.Fprintln(progress, "boot: no image in bin/image: building one")
		if _, err := build(ctx, "image/build"); err != nil {
			return nil, err
		}
		if image = newestImage(output); image == "" {
			return nil, errors.New("image/build has made no image in bin/image")
		}
	}
	fmt.Fprintln(progress, "boot: building the plain Debian, unless it exists")
	plain, err := build(ctx, "image/plain/build")
	if err != nil {
		return nil, err
	}
	all := []*bootSystem{{name: "anymx", image: image}, {name: "plain Debian", image: plain, bare: true}}
	for _, s := range all {
		if s.sizes, err = imageSizes(ctx, s.image); err != nil {
			return nil, err
		}
		fmt.Fprintf(progress, "boot: %s: %s: %v\n", s.name, s.image, s.sizes)
	}
	return all, nil
}

// hurryNeighbours makes r1 ask for the guest's MAC address every 20 ms instead of once a second, so
// that ARP's pause is not part of the figures.
func hurryNeighbours(l *lab.Lab) error {
	return errors.Join(l.R1.Namespace.Sysctl("ipv4/neigh/pop-a/retrans_time_ms", "20"),
		l.R1.Namespace.Sysctl("ipv6/neigh/pop-a/retrans_time_ms", "20"))
}
