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
	"net"
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

func main() {
	file := flag.String("config", "/etc/anymx/anymx.toml", "the config `file`; the section [mailstore] is this program's")
	version := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *version {
		fmt.Println(edge.Version)
		return
	}
	if err := run(*file); err != nil {
		fmt.Fprintln(os.Stderr, "anymx-core:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	cfg, err := config.Load(file, "mailstore")
	if err != nil {
		return err
	}
	log := edge.NewLog(os.Stderr, cfg, new(slog.LevelVar))
	set := cfg.Mailstore
	server, err := core.New(core.Options{
		Hostname: cfg.Node.Hostname, Dir: set.Directory, MaxMessage: int64(set.MaxMessageSize),
		Remember: time.Duration(set.Remember), Log: log,
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, fail := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	var listeners []net.Listener
	serve := func(addresses []string, lmtp bool) error {
		for _, address := range addresses {
			l, err := edge.ListenTCP(ctx, address)
			if err != nil {
				return err
			}
			listeners = append(listeners, l)
			log.Info("listening", "address", l.Addr().String(), "lmtp", lmtp)
			running.Go(func() {
				if err := server.Serve(l, lmtp); err != nil {
					fail(err)
				}
			})
		}
		return nil
	}
	running.Go(func() { server.Run(ctx) })
	if err := errors.Join(serve(set.Listen, false), serve(set.LMTPListen, true)); err != nil {
		fail(err)
	} else {
		_, _ = daemon.SdNotify(false, daemon.SdNotifyReady) // nothing to do where there is no systemd
	}
	<-ctx.Done()
	for _, l := range listeners {
		_ = l.Close()
	}
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	closed := server.Close(grace)
	running.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return errors.Join(cause, closed)
	}
	log.Info("stopped")
	return closed
}
