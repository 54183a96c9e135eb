package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"anymx/tests/lab"
	"anymx/tests/vm"
)

// place is the machine's environment: what its cables connect it to.
type place interface {
	// nic returns the machine's network card for one start, and enter, which starts QEMU in the
	// right namespace.
	nic() (vm.NIC, error)
	enter(func() error) error
	// files returns the machine's config.
	files() map[string]string
	// reached returns one line for each completed step on the way to receiving mail; all is true
	// when nothing is missing.
	reached(ctx context.Context) (steps []string, all bool)
	// dial connects as a sending server does.
	dial(ctx context.Context) (net.Conn, error)
	// mailbox returns where core stores the mail for b@example.net.
	mailbox() string
	// routes returns a router's view of the machine, or "" if there is no router.
	routes(ctx context.Context) (string, error)
	// part closes the machine's sessions cleanly before it is saved, and meet allows them again.
	part(ctx context.Context) error
	meet(ctx context.Context) error
	down(ctx context.Context) error
}

// beside is the lab.
type beside struct{ lab *lab.Lab }

func newBeside(ctx context.Context, out io.Writer, o options, alone bool) (*beside, error) {
	l, err := lab.Up(ctx, lab.Options{Bin: o.bin, Guest: true, Alone: alone, Keys: o.file("keys"), Say: out})
	if err != nil {
		return nil, err
	}
	return &beside{lab: l}, nil
}

// startB starts the programs of PoP b, which runs without a virtual machine.
func (b *beside) startB(ctx context.Context) error {
	if b.lab.B == nil {
		return nil
	}
	return b.lab.B.Start(ctx)
}

func (b *beside) nic() (vm.NIC, error) {
	tap, err := b.lab.Guest.Open()
	return vm.NIC{Tap: tap, MAC: b.lab.Guest.MAC}, err
}

func (b *beside) enter(f func() error) error { return b.lab.Guest.Namespace.Do(f) }
func (b *beside) files() map[string]string   { return b.lab.Guest.Files("") }
func (b *beside) mailbox() string            { return b.lab.Core.Mailbox("b") }

func (b *beside) reached(ctx context.Context) (steps []string, all bool) {
	for _, want := range []struct{ prefix, gateway string }{{lab.Prefix4, lab.A4}, {lab.Prefix6, lab.A6}} {
		if b.lab.R1.Routes.Gateway(want.prefix).String() != want.gateway {
			return steps, false
		}
		steps = append(steps, fmt.Sprintf("r1 sends packets for %s to the machine (BGP)", want.prefix))
	}
	host, err := b.lab.ClientA.Banner(ctx, net.JoinHostPort(lab.Service4, "25"))
	if err != nil || host != b.lab.Guest.Host {
		return steps, false
	}
	return append(steps, fmt.Sprintf("client-a is greeted by %s on %s", host, lab.Service4)), true
}

func (b *beside) dial(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return b.lab.ClientA.Dial(ctx, "tcp", net.JoinHostPort(lab.Service4, "25"))
}

func (b *beside) routes(context.Context) (string, error) {
	var text strings.Builder
	for _, prefix := range []string{lab.Prefix4, lab.Prefix6} {
		said, err := b.lab.R1.Ask("show route " + prefix + " all")
		if err != nil {
			return "", err
		}
		text.WriteString(strings.TrimSpace(said) + "\n")
	}
	return text.String(), nil
}

func (b *beside) sessions(order string) error {
	var failed error
	for _, name := range []string{"pop_a4", "pop_a6"} {
		_, err := b.lab.R1.Ask(order + " " + name)
		failed = errors.Join(failed, err)
	}
	return failed
}

func (b *beside) part(ctx context.Context) error {
	if err := b.sessions("disable"); err != nil {
		return err
	}
	// PoP b isn't running yet.
	_, err4 := b.lab.R1.Routes.Await(ctx, lab.Prefix4, "", 10*time.Second)
	_, err6 := b.lab.R1.Routes.Await(ctx, lab.Prefix6, "", 10*time.Second)
	return errors.Join(err4, err6)
}

func (b *beside) meet(context.Context) error     { return b.sessions("enable") }
func (b *beside) down(ctx context.Context) error { return b.lab.Down(ctx) }
