package main

import (
	"context"
	"os"
)

// discardSystem is go-smtp with a backend that discards. It relays nothing, so the load counts accepted
// messages.
type discardSystem struct{}

func (discardSystem) name() string                { return "discard" }
func (discardSystem) check(context.Context) error { return nil }

func (discardSystem) describe() description {
	return description{Title: "go-smtp with a backend that discards"}
}

func (discardSystem) start(ctx context.Context, p place) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startServer(ctx, p, self, "discard", "-listen", p.address, "-cert", p.cert, "-key", p.key)
}

// sinkSystem is a second sink instead of a system. It shows what the load generator can do on this
// machine with the cheapest server.
type sinkSystem struct{}

func (sinkSystem) name() string                { return "sink" }
func (sinkSystem) check(context.Context) error { return nil }

func (sinkSystem) describe() description {
	return description{Title: "the load generator straight into the sink"}
}

func (sinkSystem) start(ctx context.Context, p place) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return startServer(ctx, p, self, "sink", "-listen", p.address)
}
