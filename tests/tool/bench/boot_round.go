package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"anymx/tests/lab"
	"anymx/tests/vm"
	"anymx/tests/vm/rack"
)

const (
	// bootLimit is how long a boot may take on a machine that is slow and busy.
	bootLimit = 8 * time.Minute
	// bannerPoll is the pause between attempts to connect.
	bannerPoll = 20 * time.Millisecond
	// settleTime is from the banner to when memory is measured.
	settleTime = time.Minute
)

// Steps of a boot, in addition to those that package vm reports.
const (
	configPlaced = "config" // found, checked and put in place
	greeted      = "banner" // the first SMTP banner at the machine's own address
	routed       = "route"  // r1's kernel has the routes of both families
)

var bootMarkers = []vm.Marker{{Name: configPlaced, Pattern: regexp.MustCompile(`Finished anymx: config`)}}

// round boots a machine twice, from a disk that was just flashed and again from the same one, and then
// measures its memory.
func (s *bootSystem) round(ctx context.Context, l *lab.Lab, parent string) (_ sample, err error) {
	qemu, err := filepath.Abs("image/qemu")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "boot")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o := rack.Options{Image: s.image, Dir: dir, Machine: vm.Options{
		Memory: bootMemory, CPUs: bootCPUs, Watchdog: true, Balloon: true, Markers: bootMarkers, QEMU: qemu,
	}}.Beside(l, "")
	if s.bare {
		o.Config = nil
	} else if o.Config, err = unhesitating(o.Config); err != nil {
		return nil, err
	}
	r, err := rack.New(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close(), unrouted(context.WithoutCancel(ctx), l)) }()
	got := sample{}
	if err := bootOnce(ctx, l, r, "first", got); err != nil {
		return nil, err
	}
	if err := r.Machine.PowerButton(ctx, 3*time.Minute); err != nil {
		return nil, err
	}
	if err := unrouted(ctx, l); err != nil {
		return nil, err
	}
	if err := bootOnce(ctx, l, r, "later", got); err != nil {
		return nil, err
	}
	select {
	case <-time.After(settleTime):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	memory, err := r.Machine.Memory(ctx, time.Minute)
	if err != nil {
		return nil, err
	}
	got["memory"] = float64(memory.Used())
	return got, nil
}

// unhesitating returns a node's config with a rise time of 0. The pause protects against flapping and
// is not part of a boot.
func unhesitating(files map[string]string) (map[string]string, error) {
	const file, wait = "anymx.toml", `rise_time = "3s"`
	changed := maps.Clone(files)
	changed[file] = strings.Replace(files[file], wait, `rise_time = "0s"`, 1)
	if changed[file] == files[file] {
		return nil, fmt.Errorf("%s has no %s", file, wait)
	}
	return changed, nil
}

// bootRoutes are the routes of a machine, and their gateways.
var bootRoutes = []struct{ prefix, gateway string }{{lab.Prefix4, lab.A4}, {lab.Prefix6, lab.A6}}

// unrouted waits until r1 has no route to the machine.
func unrouted(ctx context.Context, l *lab.Lab) error {
	for _, route := range bootRoutes {
		if _, err := l.R1.Routes.Await(ctx, route.prefix, "", time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// bootOnce switches a machine on and records when it reached each step, in seconds since then; boot is
// "first" or "later". "..._cpu" is the CPU time of QEMU until the banner.
func bootOnce(ctx context.Context, l *lab.Lab, r *rack.Rack, boot string, got sample) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if err := r.On(ctx); err != nil {
		return err
	}
	at, err := firstBanner(ctx, l.R1.Namespace, net.JoinHostPort(lab.A4, "25"))
	if err != nil {
		return fmt.Errorf("no banner: %w; the console ends:\n%s", err, r.Machine.Console.Tail(50))
	}
	got[boot+"_"+greeted] = at.Sub(r.Machine.On).Seconds()
	got[boot+"_cpu"] = processCPU(r.Machine.PID()).Seconds()
	for _, route := range bootRoutes {
		if _, err := l.R1.Routes.Await(ctx, route.prefix, route.gateway, bootLimit); err != nil {
			return fmt.Errorf("%w; the console ends:\n%s", err, r.Machine.Console.Tail(50))
		}
		for _, change := range l.R1.Routes.Changes(route.prefix, r.Machine.On) {
			if !change.Gone {
				got[boot+"_"+routed] = max(got[boot+"_"+routed], change.At.Sub(r.Machine.On).Seconds())
				break
			}
		}
	}
	for _, reached := range r.Machine.Boot() {
		got[boot+"_"+reached.Name] = reached.At.Seconds()
	}
	return nil
}

// firstBanner connects repeatedly until there is a banner and returns when it came. If the port opens
// before the program serves it, firstBanner waits on the open connection.
func firstBanner(ctx context.Context, from *lab.Namespace, address string) (time.Time, error) {
	tick := time.NewTicker(bannerPoll)
	defer tick.Stop()
	for {
		at, err := banner(ctx, from, address)
		if err == nil {
			return at, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

func banner(ctx context.Context, from *lab.Namespace, address string) (time.Time, error) {
	// A lost SYN is repeated only after a second; a new connection is faster.
	dialing, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	conn, err := from.Dial(dialing, "tcp", address)
	if err != nil {
		return time.Time{}, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetReadDeadline(deadline); err != nil {
			return time.Time{}, err
		}
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	at := time.Now()
	if err == nil && !strings.HasPrefix(line, "220") {
		err = fmt.Errorf("the banner is %q", line)
	}
	return at, err
}

// processCPU returns the CPU time of a process without its children.
func processCPU(pid int) (used time.Duration) {
	eachStat(func(one int, fields []string) {
		if one != pid {
			return
		}
		for _, f := range fields[11:13] { // utime, stime
			n, _ := strconv.ParseInt(f, 10, 64)
			used += time.Duration(n) * clockTick
		}
	})
	return used
}
