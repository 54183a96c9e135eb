package selftest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"syscall"

	"anymx/edge/ingress/own"
	"anymx/edge/mail"

	"golang.org/x/sys/unix"
)

// textFor returns a message that names its self-test, with lines that test dot-stuffing.
func textFor(t *own.Test) content {
	return fmt.Appendf(nil, "Subject: self-test\r\n\r\n%s\r\n.one dot\r\n..\r\n", t.Recipient().Local)
}

// content is a short message in the form that smtpc sends.
type content []byte

func (c content) Size() int64 { return int64(len(c)) }

func (c content) Pieces(list [][]byte) ([][]byte, bool) { return append(list, c), true }

func (c content) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(c)
	return int64(n), err
}

// compare returns an error that names what differs in the spool from what was sent.
func compare(env *mail.Envelope, text []byte, got *own.Stored) error {
	trace, whole := bytes.CutSuffix(got.Text, text)
	switch {
	case !whole:
		return fmt.Errorf("sent %q, and %q was stored", text, got.Text)
	case !bytes.HasPrefix(trace, []byte("Received: ")) || !bytes.HasSuffix(trace, []byte("\r\n")):
		return fmt.Errorf("stored with %q in front, which is not a trace field", trace)
	case got.Envelope.Size != int64(len(got.Text)):
		return fmt.Errorf("%d bytes were stored as %d", len(got.Text), got.Envelope.Size)
	case got.Envelope.Sender != env.Sender || !reflect.DeepEqual(got.Envelope.Recipients, env.Recipients):
		return fmt.Errorf("stored from <%s> for %v", got.Envelope.Sender, got.Envelope.Recipients)
	}
	return nil
}

// within returns the addresses at which this host reaches a listener.
func within(listens net.Addr) ([]netip.AddrPort, error) {
	tcp, ok := listens.(*net.TCPAddr)
	if !ok {
		return nil, fmt.Errorf("%s is not TCP", listens.Network())
	}
	at := tcp.AddrPort()
	addr := at.Addr().Unmap()
	hosts := []netip.Addr{addr}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	switch {
	case addr == netip.IPv4Unspecified():
		hosts = []netip.Addr{loopback}
	case addr.IsUnspecified():
		hosts = []netip.Addr{netip.IPv6Loopback(), loopback}
	}
	var list []netip.AddrPort
	for _, host := range hosts {
		list = append(list, netip.AddrPortFrom(host, at.Port()))
	}
	return list, nil
}

// bindTo binds a socket that is not connected yet to an address of this host, and
// to a port that the kernel chooses. It returns the address that others see.
func bindTo(raw syscall.RawConn, addr netip.Addr) (from netip.AddrPort, err error) {
	if e := raw.Control(func(fd uintptr) { from, err = bind(int(fd), addr) }); e != nil {
		return from, e
	}
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		err = fmt.Errorf("%w: this host does not have the address %s; is anymx-net running?", err, addr)
	}
	return from, err
}

func bind(fd int, addr netip.Addr) (netip.AddrPort, error) {
	local, err := socketAddress(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if err := unix.Bind(fd, local); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("bind", err)
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	port := 0
	switch bound := bound.(type) {
	case *unix.SockaddrInet4:
		port = bound.Port
	case *unix.SockaddrInet6:
		port = bound.Port
	}
	return netip.AddrPortFrom(addr.WithZone(""), uint16(port)), nil
}

// socketAddress returns addr as a socket address without a port.
func socketAddress(addr netip.Addr) (unix.Sockaddr, error) {
	if addr.Is4() {
		return &unix.SockaddrInet4{Addr: addr.As4()}, nil
	}
	local := &unix.SockaddrInet6{Addr: addr.As16()}
	if zone := addr.Zone(); zone != "" {
		device, err := net.InterfaceByName(zone)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", zone, err)
		}
		local.ZoneId = uint32(device.Index)
	}
	return local, nil
}
