// Command up starts the lab for a person, opens shells in it and removes it: `make lab`, `make
// lab-shell` and `make lab-down` run it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"anymx/tests/lab"
)

func main() {
	bin := flag.String("bin", "bin", "`directory` of the programs")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "Usage: up [-bin DIR] lab | shell PLACE | down")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	switch command, place := flag.Arg(0), flag.Arg(1); {
	case command == "lab" && place == "":
		err = up(ctx, *bin)
	case command == "shell":
		err = shell(ctx, place)
	case command == "start" && flag.NArg() == 3: // lab-start in the shell of a PoP
		err = lab.StartAgain(lab.Person, place, flag.Arg(2))
	case command == "flood": // lab-flood in the shell of r1
		err = flood(ctx, flag.Args()[1:])
	case command == "calls": // lab-calls in the shell of client-a
		err = calls(ctx, flag.Args()[1:])
	case command == "down" && place == "":
		err = down(ctx)
	default:
		flag.Usage()
		os.Exit(2)
	}
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// up starts a lab that keeps running, and waits until both nodes announce.
func up(ctx context.Context, bin string) error {
	if lab.There(lab.Person) {
		return fmt.Errorf("%w; `make lab-down` takes it away", lab.ErrThere)
	}
	fmt.Println("The lab comes up:")
	l, err := lab.Up(ctx, lab.Options{Name: lab.Person, Bin: bin, Say: os.Stdout})
	if err != nil {
		return err
	}
	if err := serve(ctx, l); err != nil {
		return errors.Join(err, l.Down(context.WithoutCancel(ctx)))
	}
	fmt.Print(hints)
	return l.Keep()
}

// serve starts both nodes and waits until the routers send to them.
func serve(ctx context.Context, l *lab.Lab) error {
	for _, n := range []*lab.Node{l.A, l.B} {
		fmt.Printf("  PoP %s: %s\n", n.Role, strings.Join(lab.Programs, ", "))
		if err := n.Start(ctx); err != nil {
			return err
		}
		if err := n.Shield(ctx, ""); err != nil {
			return err
		}
	}
	fmt.Println("  waiting until both PoPs are healthy and announced")
	for _, want := range []struct {
		routes          *lab.Watch
		prefix, gateway string
	}{
		{l.R1.Routes, lab.Prefix4, lab.A4}, {l.R1.Routes, lab.Prefix6, lab.A6},
		{l.R2.Routes, lab.Prefix4, lab.B4}, {l.R2.Routes, lab.Prefix6, lab.B6},
	} {
		if _, err := want.routes.Await(ctx, want.prefix, want.gateway, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// down removes the person's lab.
func down(ctx context.Context) error {
	if !lab.There(lab.Person) {
		fmt.Println("There is no lab.")
		return nil
	}
	if err := lab.Remove(ctx, lab.Person); err != nil {
		return err
	}
	fmt.Println("The lab is gone: its processes, namespaces and files.")
	return nil
}

const hints = `
The lab is up.

  client-a --- r1 (BIRD, AS 64501) --- r2 (FRR, AS 64502) --- client-b
              /  \                        \
         PoP a    core                     PoP b        (PoPs: AS 64512)

Both PoPs announce 192.0.2.0/24 and 2001:db8:25::/48, and take mail for example.net
on 192.0.2.25 and 2001:db8:25::25. Core is behind a WireGuard tunnel of each.

Shells (POP can also be client-a, client-b, r1, r2 or core; each says what to try):

  make lab-shell POP=a            # the anymx command is there, and finds the node

Drain PoP a, and watch client-a's connections move:

  make lab-shell POP=client-a     # in one terminal:
    while sleep 1; do who-answers; done
  make lab-shell POP=a            # in another one:
    anymx drain --wait 1m --reason "new kernel"
    anymx status
    anymx resume

docs/drain.md walks through it. Flood PoP a while clients call, and see its shield:

  make lab-shell POP=client-a     # in one terminal:
    lab-calls 20s
  make lab-shell POP=r1           # in another one:
    lab-flood syn 15s 200000
  make lab-shell POP=a            # and in a third:
    anymx shield status

docs/shield.md walks through that. To end it:

  make lab-down
`
