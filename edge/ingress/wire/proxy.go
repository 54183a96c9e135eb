package wire

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// proxied says whether connections from addr start with a PROXY header.
func (l *Limits) proxied(addr netip.Addr) bool {
	for _, p := range l.ProxyFrom {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// readProxy reads a PROXY header of version 1 or 2 (the PROXY protocol of
// HAProxy, 2020/03/05) and leaves what was read behind it in c's input. A
// header that says LOCAL or UNKNOWN keeps the socket's own addresses.
func (c *Conn) readProxy() error {
	limits := &c.settings.Limits
	if err := c.sock.SetReadDeadline(time.Now().Add(orDefault(limits.ProxyTimeout, 5*time.Second))); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c.sock, 4096)
	header, err := proxyproto.Read(r)
	if err != nil {
		return fmt.Errorf("PROXY header: %w", err)
	}
	if header.Command.IsProxy() {
		client, okClient := addrPort(header.SourceAddr)
		service, okService := addrPort(header.DestinationAddr)
		if !okClient || !okService {
			return fmt.Errorf("PROXY header: family %#x is not TCP", byte(header.TransportProtocol))
		}
		c.peer.client, c.peer.service, c.peer.named = client, service, true
	}
	c.in.grow(middleBuffer)
	n, err := io.ReadFull(r, c.in.room()[:r.Buffered()])
	c.in.w += n
	c.in.release()
	return err
}

// addrPort is a TCP address without its zone, IPv4 as IPv4.
func addrPort(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), ap.IsValid()
}
