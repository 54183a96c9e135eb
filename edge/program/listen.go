package program

import (
	"context"
	"fmt"
	"net"
)

// ListenTCP listens on plain TCP. Go's listeners are MPTCP where the kernel has
// it, and the shield can't hand connections to those. Keep-alive is off: each
// stage of a session has a time of its own, and turning it on costs four system
// calls for each connection.
func ListenTCP(ctx context.Context, address string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}
