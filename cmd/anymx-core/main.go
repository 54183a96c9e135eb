// Command anymx-core is the embedded core: it receives mail from edges by SMTP and LMTP and stores
// it in a Maildir for each recipient. It is for `make run`, for tests and for small sites.
package main

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"anymx/edge/core"
	"anymx/edge/service"
)

// grace is how long sessions have for their transaction when the program ends.
const grace = 10 * time.Second

func main() {
	service.Program{
		Name: "anymx-core", Does: "anymx-core takes mail from edges by SMTP and LMTP, into Maildirs.",
		Help: `Example of its part of the config:

  [mailstore]
  listen = ["10.77.0.1:2525"]
  directory = "/var/lib/anymx-core"

Mail for b@example.net is then in /var/lib/anymx-core/mail/example.net/b/new.
Signals: TERM and INT end it.
`,
		Sections: []string{"mailstore"}, Run: run,
	}.Main()
}

func run(told context.Context, env *service.Env) error {
	cfg, log, set := env.Config, env.Log, env.Config.Mailstore
	syscall.Umask(0o077) // other users must not read mail
	server, err := core.New(core.Options{
		Hostname: cfg.Node.Hostname, Dir: set.Directory, MaxMessage: int64(set.MaxMessageSize),
		MaxRecipients: set.MaxRecipients, MaxConnections: set.MaxConnections, DiskReserve: int64(set.DiskReserve),
		Remember: time.Duration(set.Remember), Log: log,
	})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(told)
	defer end(nil)
	var running sync.WaitGroup
	serve := func(addresses []string, lmtp bool) {
		for _, address := range addresses {
			l, err := service.ListenTCP(ctx, address)
			if err != nil {
				end(err)
				return
			}
			log.Info("listening", "address", l.Addr().String(), "lmtp", lmtp)
			running.Go(func() { end(server.Serve(l, lmtp)) }) // a nil error only after Close
		}
	}
	serve(set.Listen, false)
	serve(set.LMTPListen, true)
	running.Go(func() { end(server.Run(ctx)) })
	if ctx.Err() == nil {
		service.Ready()
	}
	<-ctx.Done()
	failure := context.Cause(ctx)
	if told.Err() != nil {
		failure = nil
	}
	service.Stopping()
	last, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err = errors.Join(failure, server.Close(last))
	running.Wait()
	if err == nil {
		log.Info("stopped")
	}
	return err
}
