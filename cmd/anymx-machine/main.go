// Command anymx-machine manages the appliance that a node runs on: its versions, its boot entries,
// its config. It runs as root, because it writes slots and boot entries, and listens only on its
// control socket.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"anymx/edge/appliance/machine"
	"anymx/edge/appliance/provision"
	"anymx/edge/service"
)

const help = `anymx-machine manages the appliance: it serves 'anymx update', 'anymx reboot'
and 'anymx poweroff'.

Usage: anymx-machine [-socket SOCKET] [-config FILE]   serve, until a SIGTERM
       anymx-machine -provision [-wait LONG]           install the node's config, once
       anymx-machine -confirm [-config FILE]           wait until this version has carried mail, or reboot
       anymx-machine -trouble [-listen ADDRESS]        the page of a node without a valid config

It needs no config file. As -trouble, and as the child that fetches an update
(-fetch URL), it needs no privilege.

`

// flags holds the parsed command line.
type flags struct {
	provision, confirm, trouble, version bool
	fetch, socket, config, listen        string
	wait                                 time.Duration
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run runs the program and returns its exit code.
func run(args []string, stdout, stderr io.Writer) int {
	var f flags
	set := flag.NewFlagSet("anymx-machine", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() { fmt.Fprint(stderr, help); set.PrintDefaults() }
	set.BoolVar(&f.provision, "provision", false, "find the node's config and install it")
	set.BoolVar(&f.confirm, "confirm", false, "wait until the running version is confirmed")
	set.BoolVar(&f.trouble, "trouble", false, "serve what is wrong with the config")
	set.StringVar(&f.fetch, "fetch", "", "write the content at a `URL` to standard output")
	set.StringVar(&f.socket, "socket", "/run/anymx/machine.sock", "control `socket`")
	set.StringVar(&f.config, "config", "/etc/anymx/anymx.toml", "the node's config `file`")
	set.StringVar(&f.listen, "listen", "[::]:9925", "with -trouble: the `address`")
	set.DurationVar(&f.wait, "wait", 10*time.Second, "with -provision: how `long` to wait for a USB stick if there is no config")
	set.BoolVar(&f.version, "version", false, "print the version and exit")
	switch err := set.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return 2
	case set.NArg() > 0:
		fmt.Fprintf(stderr, "anymx-machine: %q is not a flag\n", set.Arg(0))
		return 2
	case f.version:
		fmt.Fprintln(stdout, service.Version())
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := f.do(ctx, stdout, service.NewLog(stderr, false, nil)); err != nil {
		service.WriteError(stderr, "anymx-machine", err)
		return 1
	}
	return 0
}

// do does what the flags ask for.
func (f *flags) do(ctx context.Context, stdout io.Writer, log *slog.Logger) error {
	o := machine.Options{Socket: f.socket, Config: f.config, FetchUser: "anymx-fetch", Log: log}
	switch {
	case f.fetch != "":
		return machine.Fetch(ctx, f.fetch, stdout)
	case f.provision:
		_, err := provision.Run(ctx, provision.Options{Credentials: os.Getenv("CREDENTIALS_DIRECTORY"), Wait: f.wait, Settle: provision.Settle, Console: stdout, Reload: machine.ReloadUnits})
		return err
	case f.confirm:
		return machine.Confirm(ctx, o)
	case f.trouble:
		l, err := service.ListenTCP(ctx, f.listen)
		if err != nil {
			return err
		}
		service.Ready()
		return provision.ServeTrouble(ctx, provision.TroubleOptions{Listener: l, Version: service.Version(), Log: log})
	}
	defer service.Stopping()
	return machine.Run(ctx, o, service.Ready)
}
