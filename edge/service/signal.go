package service

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// stopContext returns a context that ends at the first SIGTERM or SIGINT. The second one kills the
// process, by the default action of the signal, and none in between is lost: the default action is
// restored before the context ends. release frees what the context holds.
func stopContext() (ctx context.Context, release func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		if ctx.Err() != nil {
			return
		}
		select {
		case second := <-signals: // it came before the default action was restored
			_ = syscall.Kill(os.Getpid(), second.(syscall.Signal))
		default:
		}
		cancel()
	})
	return ctx, func() {
		cancel()
		waiting.Wait()
	}
}
