// Command up boots an image in QEMU for a person, beside a lab: it is what
// `make qemu` runs. The machine is PoP a: a router that runs BIRD, core behind a
// WireGuard tunnel and a client are around it, as in tests/lab.
//
// It shows the boot, sends a letter from a client to the anycast address and shows
// it in core's mailbox. Then it stays, and takes orders, until Ctrl-C. The first
// boot of an image is saved, memory and disk, beside the image or in the user's cache; the next start goes
// on from there.
//
// Without root it makes the lab in a user namespace, and where it can't, QEMU's own
// network has to do.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// options are the command line's.
type options struct {
	image, bin, state string
	qemu              string
	memory, cpus      int
	fresh             bool
}

func (o options) file(name string) string { return filepath.Join(o.state, name) }

const usage = `Usage: .qemu -image FILE [flags]     boots it, and stays until Ctrl-C
       .qemu console | send | route | power-cut | down

  console     the machine's serial console; Ctrl-] leaves it
  send        a letter from client-a, and how it comes to core
  route       what the router r1 knows of the anycast prefixes
  power-cut   cuts the power; what the disk had not flushed is torn or lost
  down        ends the machine and takes the lab away

`

func main() {
	home := "bin"
	if self, err := os.Executable(); err == nil {
		home = filepath.Dir(self)
	}
	var o options
	flag.StringVar(&o.image, "image", "", "`file` with the image of the disk")
	flag.StringVar(&o.bin, "bin", home, "`directory` of the programs of core and PoP b")
	flag.StringVar(&o.state, "state", stateOf(home), "`directory` for the disk and what is saved")
	flag.StringVar(&o.qemu, "qemu", qemuOf(home), "QEMU's `program`")
	flag.IntVar(&o.memory, "memory", 1024, "the machine's, in `MiB`")
	flag.IntVar(&o.cpus, "cpus", 2, "`number` of the machine's processors")
	flag.BoolVar(&o.fresh, "fresh", false, "boot, also if there is a saved machine")
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := do(ctx, o)
	stop()
	switch {
	case errors.Is(err, errSaid):
		os.Exit(1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "qemu:", err)
		os.Exit(1)
	}
}

// stateOf is where a machine of the programs in home has its disk: beside the image,
// or, as that is root's, in this user's cache, apart from those of other trees.
func stateOf(home string) string {
	cache, err := os.UserCacheDir()
	if os.Geteuid() == 0 || err != nil {
		return filepath.Join(home, "image", ".qemu")
	}
	of := sha256.Sum256([]byte(home))
	return filepath.Join(cache, fmt.Sprintf("anymx-qemu-%x", of[:6]))
}

// qemuOf is image/qemu of the tree that the programs were built from; "" where they
// lie elsewhere: what the machine has is taken then.
func qemuOf(home string) string {
	name := filepath.Join(filepath.Dir(home), "image", "qemu")
	if _, err := os.Stat(name); err != nil {
		return ""
	}
	return name
}

func do(ctx context.Context, o options) error {
	switch command := flag.Arg(0); {
	case command == "" && o.image != "":
		return up(ctx, o)
	case command == "console" && flag.NArg() == 1:
		return attach(ctx, o.state)
	case (command == "send" || command == "route" || command == "power-cut" || command == "down") && flag.NArg() == 1:
		return order(ctx, o.state, command)
	case command == "pipe" && flag.NArg() == 2: // QEMU runs it
		return pipe(flag.Arg(1))
	}
	flag.Usage()
	return errSaid
}
