package anycast

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

// probe is an SMTP dialogue with one service point, as a client has it: banner, EHLO, QUIT. It
// comes from the service address, so that it stays on the host whatever the routes say, and fails
// if the address is missing there.
type probe struct {
	point netip.AddrPort
	hello string // the name in EHLO
	// proxied means that ingress requires a PROXY header from the service address.
	proxied bool
}

// proxyLocal is the PROXY protocol's header of version 2 (HAProxy, 2020/03/05, 2.2) with the
// command LOCAL: the connection is the proxy's own, with its real addresses.
const proxyLocal = "\r\n\r\n\x00\r\nQUIT\n" + "\x20\x00\x00\x00"

// say runs the dialogue. A 421 is busy, any other unexpected reply is bad. ctx limits its time.
func (p probe) say(ctx context.Context) (outcome, error) {
	d := net.Dialer{KeepAlive: -1, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.point.Addr(), 0))}
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(ctx, "tcp", p.point.String())
	if err != nil {
		return bad, plainly("connect", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // a socket that refuses it fails at the first read
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	if p.proxied {
		if _, err := io.WriteString(conn, proxyLocal); err != nil {
			return bad, plainly("PROXY header", err)
		}
	}
	r := bufio.NewReaderSize(conn, maxReplyLine)
	if result, err := expect(r, "banner", 220); err != nil {
		return result, err
	}
	if _, err := io.WriteString(conn, "EHLO "+p.hello+"\r\n"); err != nil {
		return bad, plainly("EHLO", err)
	}
	if result, err := expect(r, "EHLO", 250); err != nil {
		return result, err
	}
	// The result is known. QUIT is a courtesy, which leaves TCP's TIME-WAIT state to the server.
	if _, err := io.WriteString(conn, "QUIT\r\n"); err == nil {
		_, _ = readReply(r)
	}
	return good, nil
}

// expect reads the reply that must have the code.
func expect(r *bufio.Reader, to string, code int) (outcome, error) {
	got, err := readReply(r)
	switch {
	case err != nil:
		return bad, plainly(to, err)
	case got.code == 421: // RFC 5321 3.8
		return busy, fmt.Errorf("%s: %s", to, got)
	case got.code != code:
		return bad, fmt.Errorf("%s: %s", to, got)
	}
	return good, nil
}

// plainly explains a network error.
func plainly(to string, err error) error {
	var call *os.SyscallError
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: timeout", to)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: this host does not have the service address; is anymx-net running?", to)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: the connection was closed", to)
	case errors.As(err, &call):
		return fmt.Errorf("%s: %w", to, call.Err)
	case errors.As(err, &op):
		return fmt.Errorf("%s: %w", to, op.Err)
	}
	return fmt.Errorf("%s: %s", to, strings.TrimSpace(err.Error()))
}
