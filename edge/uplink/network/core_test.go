package network

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"testing"

	"anymx/edge/uplink/tunnel"
	"anymx/tests/kit"
)

// A tunnel that is opened during a shutdown is closed.
func TestCore_endsMeanwhile(t *testing.T) {
	space := kit.NewNetwork(t)
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		t.Skip(err)
	}
	options := tunnel.Options{Interface: "wg-core", Implementation: tunnel.Userspace}
	var opened *tunnel.Tunnel
	var err error
	space.Do(func() { opened, err = tunnel.Open(options) })
	if err != nil {
		t.Fatal(err)
	}
	c := &core{options: options, log: slog.New(slog.DiscardHandler), tunnel: opened}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.run(ctx, opened)
	if err := opened.Apply(t.Context(), tunnel.Settings{PrivateKey: tunnel.GenerateKey()}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the tunnel is still open: %v", errors.Join(err, opened.Close()))
	}
	if _, open := c.status(); open {
		t.Error("the status is of a closed tunnel")
	}
}
