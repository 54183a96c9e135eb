// Command anymx-edge is the mail program of a node: ingress, spool, hand-off
// and the control socket. It runs as a user of its own, without a capability;
// systemd passes it its sockets.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"anymx/edge"
	"anymx/edge/config"

	"github.com/coreos/go-systemd/v22/activation"
)

func main() {
	file := flag.String("config", "/etc/anymx/anymx.toml", "the node's config `file`")
	version := flag.Bool("version", false, "print the version and exit")
	flag.Usage = usage
	flag.Parse()
	switch {
	case *version:
		fmt.Println(edge.Version())
		return
	case flag.NArg() > 0:
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*file); err != nil {
		fmt.Fprintln(os.Stderr, "anymx-edge:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `anymx-edge takes mail by SMTP, stores it, and hands it to core.

Usage: anymx-edge [-config FILE]

`)
	flag.PrintDefaults()
	fmt.Fprint(flag.CommandLine.Output(), `
Signals: TERM and INT end it, with no accepted message lost; HUP reads the
config, the certificate and the recipients again. "anymx check FILE" checks a
config before that.
`)
}

func run(file string) error {
	cfg, err := config.Load(file, "core")
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	log := edge.NewLog(os.Stderr, cfg, level)
	listeners, err := passed()
	if err != nil {
		return err
	}
	node, err := edge.Open(edge.Options{
		File: file, Config: cfg, Listeners: listeners, Stderr: os.Stderr, Log: log, Level: level,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	go func() {
		for {
			select {
			case <-reload:
				_, _ = node.Reload(ctx) // it logs its own outcome
			case <-ctx.Done():
				return
			}
		}
	}()
	return node.Run(ctx)
}

// passed are the sockets that systemd opened for us; none if it did not start
// us.
func passed() ([]net.Listener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets from systemd: %w", err)
	}
	var listeners []net.Listener
	for _, l := range all {
		if l != nil { // nil is a descriptor that is no listening socket
			listeners = append(listeners, l)
		}
	}
	return listeners, nil
}
