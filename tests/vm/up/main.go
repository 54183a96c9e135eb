// Command up boots an image in QEMU for a person, next to a lab: `make qemu` runs it. The machine
// replaces PoP a: it is surrounded by a router that runs BIRD, core at the end of a WireGuard
// tunnel and a client, as in tests/lab.
//
// It shows the boot, sends a message from a client to the anycast address and shows it in core's
// mailbox. Then it runs and takes commands until Ctrl-C. It saves memory and disk after the first
// boot of an image, next to the image or in the user's cache; the next start resumes from there.
//
// Without root it creates the lab in a user namespace. Where that fails, it uses QEMU's own
// network. network has to do.
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

// options are the command-line options.
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
  send        a message from client-a, and how it comes to core
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

// stateOf returns where a machine of the programs in home has its disk: next to the image or, if
// root owns that directory, in this user's cache, separately for each source tree.
func stateOf(home string) string {
	cache, err := os.UserCacheDir()
	if os.Geteuid() == 0 || err != nil {
		return filepath.Join(home, "image", ".qemu")
	}
	of := sha256.Sum256([]byte(home))
	return filepath.Join(cache, fmt.Sprintf("anymx-qemu-%x", of[:6]))
}

// qemuOf returns image/qemu of the source tree that the programs were built from; "" means the
// machine's own QEMU.
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
