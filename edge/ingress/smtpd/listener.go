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

// clientListener is a listener of ingress that puts the connections of self-tests aside, before
// anything is done with them. What is there for clients, such as caps, PROXY headers, the delay of the
// banner, and 421 while the node is out of service, must neither stop nor count them. Everything else is
// the same for both.
type clientListener struct {
	net.Listener
	own   *own.Connections
	aside chan net.Conn
	over  chan struct{} // closed when nobody takes what is put aside
	once  sync.Once
}

func newClientListener(l net.Listener, o *own.Connections) *clientListener {
	return &clientListener{Listener: l, own: o, aside: make(chan net.Conn), over: make(chan struct{})}
}

// Accept gives the next connection that is not a self-test's.
func (d *clientListener) Accept() (net.Conn, error) {
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

// selfTestListener is the listener of what a clientListener puts aside.
type selfTestListener struct{ *clientListener }

func (d selfTestListener) Accept() (net.Conn, error) {
	select {
	case conn := <-d.aside:
		return conn, nil
	case <-d.over:
		return nil, net.ErrClosed
	}
}

// Close leaves the listener of clients open.
func (d selfTestListener) Close() error {
	d.once.Do(func() { close(d.over) })
	return nil
}

// lastTests is how long self-tests have to end when their listener has.
const lastTests = time.Second

// serveAside serves what d puts aside, until the returned function is called, which waits for its end.
func (s *Server) serveAside(d *clientListener) (end func()) {
	registry := wire.NewRegistry(wire.Options{Settings: s.selfTestSettings(), Log: s.options.Log})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = registry.Serve(selfTestListener{d}, s.serveSelfTest) // its only end is net.ErrClosed
	}()
	return func() {
		_ = selfTestListener{d}.Close()
		<-served
		ctx, cancel := context.WithTimeout(context.Background(), lastTests)
		defer cancel()
		registry.Close(ctx)
	}
}
