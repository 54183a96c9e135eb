// Command anymx-core is the embedded core: it takes mail from edges by SMTP and
// LMTP and keeps a Maildir for each recipient. It is for `make run`, for tests
// and for small sites.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"anymx/edge"
	"anymx/edge/config"
	"anymx/edge/core"

	"github.com/coreos/go-systemd/v22/daemon"
)

// grace is how long sessions have for their transaction when the program ends.
const grace = 10 * time.Second

func main() {
	file := flag.String("config", "/etc/anymx/anymx.toml", "the config `file`; its section [mailstore] is this program's")
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
		fmt.Fprintln(os.Stderr, "anymx-core:", err)
		os.Exit(1)
	}
}

func usage() {
	fmt.Fprint(flag.CommandLine.Output(), `anymx-core takes mail from edges by SMTP and LMTP, into Maildirs.

Usage: anymx-core [-config FILE]

`)
	flag.PrintDefaults()
	fmt.Fprint(flag.CommandLine.Output(), `
Example of its part of the config:

  [mailstore]
  listen = ["10.77.0.1:2525"]
  directory = "/var/lib/anymx-core"

Mail for b@example.net is then in /var/lib/anymx-core/mail/example.net/b/new.
Signals: TERM and INT end it.
`)
}

func run(file string) error {
	cfg, err := config.Load(file, "mailstore")
	if err != nil {
		return err
	}
	syscall.Umask(0o077) // mail is nobody else's business
	log, set := edge.NewLog(os.Stderr, cfg, new(slog.LevelVar)), cfg.Mailstore
	server, err := core.New(core.Options{
		Hostname: cfg.Node.Hostname, Dir: set.Directory, MaxMessage: int64(set.MaxMessageSize),
		MaxRecipients: set.MaxRecipients, MaxConnections: set.MaxConnections, DiskReserve: int64(set.DiskReserve),
		Remember: time.Duration(set.Remember), Log: log,
	})
	if err != nil {
		return err
	}
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, end := context.WithCancelCause(told)
	defer end(nil)
	var running sync.WaitGroup
	serve := func(addresses []string, lmtp bool) {
		for _, address := range addresses {
			l, err := edge.ListenTCP(ctx, address)
			if err != nil {
				end(err)
				return
			}
			log.Info("listening", "address", l.Addr().String(), "lmtp", lmtp)
			running.Go(func() { end(server.Serve(l, lmtp)) }) // nil only when it has ended anyway
		}
	}
	serve(set.Listen, false)
	serve(set.LMTPListen, true)
	running.Go(func() { end(server.Run(ctx)) })
	if ctx.Err() == nil {
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // nothing to do where there is no systemd
	}
	<-ctx.Done()
	failure := context.Cause(ctx)
	if told.Err() != nil {
		failure = nil
	}
	stop() // a second signal ends it at once
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	last, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err = errors.Join(failure, server.Close(last))
	running.Wait()
	if err == nil {
		log.Info("stopped")
	}
	return err
}
