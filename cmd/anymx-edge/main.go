// Command anymx-edge is the mail program of a node: ingress, spool, queue,
// hand-off, drain and the control socket. It runs as a user of its own, without
// a capability; systemd passes it its sockets.
package main

import (
	"context"
	"os"

	"anymx/edge"
	"anymx/edge/service"
)

func main() {
	service.Program{
		Name: "anymx-edge", Does: "anymx-edge takes mail by SMTP, stores it, and hands it to core.",
		Help: `Signals: TERM and INT end it, with no accepted message lost: it leaves service
like in a drain, within node.shutdown_grace. HUP reads the config, the
certificate and the recipients again. "anymx check FILE" checks a config before
that.
`,
		Sections: []string{"core"}, Run: run,
	}.Main()
}

func run(ctx context.Context, env *service.Env) error {
	listeners, err := service.Listeners()
	if err != nil {
		return err
	}
	return edge.Run(ctx, edge.Options{
		File: env.File, Config: env.Config, Listeners: listeners, Stderr: os.Stderr, Log: env.Log, Level: env.Level, Clock: env.Clock, Reload: env.Reload,
	})
}
