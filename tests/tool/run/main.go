// Command run is `make run`: it starts anymx-core and anymx-edge on loopback, sends five messages to
// the edge with a stock SMTP client, and checks that each arrives in core's Maildirs byte for byte as
// it was sent.
//
//  1. The state directory (.run/) gets a throw-away certificate and a config file. Mail and logs of
//     an earlier run stay (state.go).
//  2. Core starts, then the edge, each when the one before is ready. Their logs go to files
//     (program.go).
//  3. Each message is written to a file and sent by swaks, curl, Python's smtplib or Go's net/smtp,
//     whichever is the first that is installed and supports it (message.go, client.go).
//  4. The edge's reply is printed, and the Maildirs are polled until the message is there
//     (mailbox.go).
//  5. Until Ctrl-C, other mail that arrives is printed too. Then the edge stops, and after it core.
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

// init locks main to its thread. The children get a signal when the thread that started them ends
// (see startProgram), so it must be one that lives as long as the program.
func init() { runtime.LockOSThread() }

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "bin", "`directory` of anymx-edge, anymx-core and anymx")
	flag.StringVar(&o.state, "state", ".run", "`directory` for config, logs, spool and mail")
	flag.StringVar(&o.client, "client", "", "send only with the client `NAME`: swaks, curl, python3 or net/smtp")
	flag.BoolVar(&o.once, "once", false, "stop after the five messages have arrived")
	flag.BoolVar(&o.anyPort, "any-port", false, "use free ports instead of 8025, 2525 and 9925")
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

// options are the command line's flags.
type options struct {
	bin, state string
	client     string // "" means the first that supports the message
	once       bool
	anyPort    bool
}

// absolute makes the directories absolute, as config files need them.
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
