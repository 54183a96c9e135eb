package smtpd

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"anymx/edge/ingress/own"
	"anymx/edge/ingress/wire"
)

// door is a listener of ingress that puts the connections of self-tests aside, before
// anything is done with them: what is there for clients, such as caps, PROXY
// headers, the delay of the banner, and 421 while the node is out of service, is
// neither for them nor may it count them. Everything else is the same for both.
type door struct {
	net.Listener
	own   *own.Connections
	aside chan net.Conn
	over  chan struct{} // closed when nobody takes what is put aside
	once  sync.Once
}

func newDoor(l net.Listener, o *own.Connections) *door {
	return &door{Listener: l, own: o, aside: make(chan net.Conn), over: make(chan struct{})}
}

// Accept gives the next connection that is not a self-test's.
func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil || d.own.Test(clientOf(conn)) == nil {
			return conn, err
		}
		select {
		case d.aside <- conn:
		case <-d.over:
			_ = conn.Close()
		}
	}
}

// clientOf is who connects; the zero AddrPort where that is not TCP.
func clientOf(conn net.Conn) netip.AddrPort {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	from := tcp.AddrPort()
	return netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())
}

// sideDoor is the listener of what a door puts aside.
type sideDoor struct{ *door }

func (d sideDoor) Accept() (net.Conn, error) {
	select {
	case conn := <-d.aside:
		return conn, nil
	case <-d.over:
		return nil, net.ErrClosed
	}
}

// Close leaves the door itself as it is.
func (d sideDoor) Close() error {
	d.once.Do(func() { close(d.over) })
	return nil
}

// lastTests is how long self-tests have to end when their listener has.
const lastTests = time.Second

// serveAside serves what d puts aside, until the returned function is called,
// which waits for its end.
func (s *Server) serveAside(d *door) (end func()) {
	registry := wire.NewRegistry(wire.Options{Settings: s.selfTestSettings(), Log: s.o.Log})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.selfTestSMTP.Serve(registry.Listen(sideDoor{d})) // its only end is net.ErrClosed
	}()
	return func() {
		_ = sideDoor{d}.Close()
		<-served
		ctx, cancel := context.WithTimeout(context.Background(), lastTests)
		defer cancel()
		registry.Close(ctx)
	}
}
