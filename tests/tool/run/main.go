// Command run shows the whole path on one machine: it starts anymx-core and
// anymx-edge on loopback, sends five real messages through the front door with
// a stock client, and shows each arriving in core's mail directory, byte for
// byte what was sent.
//
// What happens to the data:
//
//  1. The state directory (.run/) gets a throw-away certificate and two config
//     files; what an earlier run left there is kept (state.go).
//  2. Core starts, then the edge, each waited for until it is ready; their
//     logs go into files (program.go).
//  3. Each message is written to a file and sent by swaks, curl, Python's
//     smtplib or Go's net/smtp, the first that is here and can do it
//     (message.go, client.go).
//  4. What the edge answered is shown, and the message is looked for in the
//     Maildirs until it is there (mailbox.go).
//  5. Until Ctrl-C whatever else arrives is shown too. Then the edge is stopped,
//     and after it core.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// The children die with the thread that started them (see program.start), so
// that must be the one that lives as long as the program: main's own.
func init() { runtime.LockOSThread() }

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "`directory` of the programs")
	flag.StringVar(&o.state, "state", ".run", "`directory` of all state")
	flag.StringVar(&o.client, "client", "", "send with this client `NAME` alone: swaks, curl, python3 or net/smtp")
	flag.BoolVar(&o.once, "once", false, "stop when the messages have arrived")
	flag.BoolVar(&o.anyPort, "any-port", false, "do not ask for the usual ports, take free ones")
	flag.Parse()
	if err := o.absolute(); err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(2)
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, newScreen(os.Stdout), o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(1)
	}
}

// options is what the command line says.
type options struct {
	bin, state string
	client     string // "": the first that can
	once       bool
	anyPort    bool
}

// absolute makes the directories absolute, as config files want them.
func (o *options) absolute() error {
	for _, dir := range []*string{&o.bin, &o.state} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
	}
	return nil
}
