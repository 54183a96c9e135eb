package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"anymx/tests/vm"
)

// up boots the image, shows its progress, and takes commands until ctx ends.
func up(ctx context.Context, o options) (err error) {
	inside := os.Getenv(insideVariable) != ""
	if err := absolute(&o.image, &o.bin, &o.state); err != nil {
		return err
	}
	if _, err := os.Stat(o.image); err != nil {
		return err
	}
	why, done, err := enterNamespace(inside)
	if done || err != nil {
		return err
	}
	if err := os.MkdirAll(o.state, 0o755); err != nil {
		return err
	}
	orders, err := listen(o.state)
	if err != nil {
		return err
	}
	defer orders.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	s := newScreen(os.Stdout)
	s.head(ctx, o)
	p := &power{flags: o, s: s}
	if p.place, err = s.surroundings(ctx, o, why, inside); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, p.off(), p.place.down(context.WithoutCancel(ctx)))
		if err == nil {
			s.title("The machine is off, and what was around it is gone.")
		}
	}()
	began := time.Now()
	if err := p.start(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	s.line("")
	s.line("Up in %.1f s.", time.Since(began).Seconds())
	if b, ok := p.place.(*beside); ok {
		if err := b.startB(ctx); err != nil {
			return unlessEnded(ctx, err)
		}
	}
	if err := p.show(ctx); err != nil {
		return unlessEnded(ctx, err)
	}
	s.hints(p)
	p.serve(ctx, stop, orders)
	return nil
}

// enterNamespace sets up the network namespace if this process is inside one. Otherwise it runs
// this program again in one and returns done when that has ended; why says why that is impossible.
func enterNamespace(inside bool) (why string, done bool, err error) {
	if inside {
		return "", false, settle()
	}
	if why = lacks(); why != "" || os.Geteuid() == 0 {
		return why, false, nil
	}
	err = enter()
	if errors.Is(err, errNoNamespace) {
		return err.Error(), false, nil
	}
	return "", true, err
}

func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil // Ctrl-C is a normal end
	}
	return err
}

func absolute(names ...*string) error {
	for _, name := range names {
		path, err := filepath.Abs(*name)
		if err != nil {
			return err
		}
		*name = path
	}
	return nil
}

// head prints what is about to run.
func (s *screen) head(ctx context.Context, o options) {
	s.title("%s in QEMU", filepath.Base(o.image))
	s.line("%d processors, %d MiB of memory, UEFI, a disk whose cache forgets when the power is cut", o.cpus, o.memory)
	if a := vm.Accelerator(ctx); a.Accel == vm.KVM {
		s.line("on KVM")
	} else {
		s.line("without KVM, so ten times slower than a server: %.150s", firstLine(a.Why))
	}
}

// surroundings creates the lab, or QEMU's network if a lab can't run.
func (s *screen) surroundings(ctx context.Context, o options, why string, inside bool) (place, error) {
	if why != "" {
		s.title("No lab around it: %s.", firstLine(why))
		s.line("It has QEMU's own network: no router, no tunnel; core runs here on loopback.")
		return newPlain(o)
	}
	alone := inside || !installed("zebra")
	s.title("The lab around it:")
	b, err := newBeside(ctx, s.out, o, alone)
	if err != nil {
		return nil, err
	}
	if inside {
		s.line("in a user namespace, as you are not root: without r2, PoP b and the floods")
	} else if alone {
		s.line("without r2 and PoP b, as FRR is not installed (package frr)")
	}
	return b, nil
}

// show sends a message and shows where it went.
func (p *power) show(ctx context.Context) error {
	if _, ok := p.place.(*beside); ok {
		p.s.title("A message from client-a to the anycast address:")
	} else {
		p.s.title("A message to the machine:")
	}
	if err := p.send(ctx, p.s.out); err != nil {
		return err
	}
	routes, err := p.place.routes(ctx)
	if err != nil || routes == "" {
		return err
	}
	p.s.title("What the router r1 has learnt by BGP:")
	p.s.block(routes)
	return nil
}

// send sends a message and finds it in core.
func (p *power) send(ctx context.Context, out io.Writer) error {
	s := *p.s
	s.out = out
	conn, err := p.place.dial(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	subject := "letter " + time.Now().UTC().Format("15:04:05.000")
	began := time.Now()
	if _, err := converse(conn, letter(subject), func(line string) { s.line("%s", line) }); err != nil {
		return err
	}
	acknowledged := time.Since(began)
	file, err := find(ctx, p.place.mailbox(), subject, time.Minute)
	if err != nil {
		return err
	}
	s.line("")
	s.line("Acknowledged after %.0f ms, in core's mailbox of b@example.net after %.0f ms:", 1000*acknowledged.Seconds(), 1000*time.Since(began).Seconds())
	s.block(headers(file))
	return nil
}

// serve handles commands until ctx ends.
func (p *power) serve(ctx context.Context, stop func(), orders net.Listener) {
	var one sync.Mutex // one command at a time
	take(ctx, orders, func(ctx context.Context, command string, out io.Writer) error {
		if command == "down" {
			stop()
			return nil
		}
		one.Lock()
		defer one.Unlock()
		switch command {
		case "send":
			return p.send(ctx, out)
		case "route":
			text, err := p.place.routes(ctx)
			if text == "" && err == nil {
				return errors.New("there is no router: the machine has QEMU's own network")
			}
			fmt.Fprint(out, text)
			return err
		case "power-cut":
			return p.cut(ctx, out)
		}
		return fmt.Errorf("no such order: %q", command)
	}, func(ctx context.Context, conn net.Conn) {
		one.Lock()
		m := p.rack.Machine
		one.Unlock()
		m.Console.Attach(ctx, conn)
	})
}

func (s *screen) hints(p *power) {
	s.title("It goes on until Ctrl-C. In another terminal:")
	s.block(`bin/.qemu console      # the machine's own console: status, and drain; Ctrl-] leaves it
bin/.qemu send         # another message
bin/.qemu power-cut    # cuts the power, and boots again: no acknowledged message is lost`)
	if _, ok := p.place.(*beside); ok {
		s.block(`bin/.qemu route        # what r1 knows; watch it while you drain the node on its console`)
	}
	s.block(`bin/.qemu down         # ends it`)
	s.line("What the console has said: %s", p.flags.file("machine/console.log"))
}

func firstLine(text string) string {
	for i, c := range text {
		if c == '\n' {
			return text[:i]
		}
	}
	return text
}
