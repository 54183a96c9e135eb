package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Types of BGP messages (RFC 4271 4.1).
const (
	bgpOpen         = 1
	bgpUpdate       = 2
	bgpNotification = 3
	bgpKeepalive    = 4
)

// hostile is a misbehaving router. It accepts connections in a namespace and runs a script on each,
// which sends any bytes.
type hostile struct {
	listener net.Listener
	running  sync.WaitGroup
	accepted atomic.Int64 // connections
	told     atomic.Int64 // UPDATEs sent
	ended    atomic.Int64 // connections ended by the other side
}

// listenHostile runs story on each connection to address, one at a time. With a password,
// connections need a TCP MD5 signature from peer.
func (n *Namespace) listenHostile(address, password, peer string, story func(*hostile, *bgpConn) error) (*hostile, error) {
	var config net.ListenConfig
	if password != "" {
		config.Control = func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) { failed = setMD5(int(fd), peer, password) })
			return errors.Join(err, failed)
		}
	}
	l, err := n.Listen(config, address)
	if err != nil {
		return nil, err
	}
	h := &hostile{listener: l}
	h.running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			h.accepted.Add(1)
			_ = story(h, &bgpConn{conn}) // how it ends is up to the other side
			_ = conn.Close()
		}
	})
	return h, nil
}

// Close closes the listener and its connection.
func (h *hostile) Close() error {
	err := h.listener.Close()
	h.running.Wait()
	return err
}

// setMD5 requires signed segments from peer (RFC 2385).
func setMD5(fd int, peer, password string) error {
	s := unix.TCPMD5Sig{Keylen: uint16(len(password))}
	s.Addr.Family = unix.AF_INET
	for i, b := range netip.MustParseAddr(peer).AsSlice() { // as in a sockaddr_in, after the port
		s.Addr.Data[2+i] = b
	}
	copy(s.Key[:], password)
	return unix.SetsockoptTCPMD5Sig(fd, unix.IPPROTO_TCP, unix.TCP_MD5SIG, &s)
}

// bgpConn is one connection from a speaker.
type bgpConn struct{ net.Conn }

// handshake reads the speaker's OPEN, answers with one from asn and continues until the session is
// established.
func (c *bgpConn) handshake(asn uint16) error {
	if kind, _, err := c.read(); err != nil || kind != bgpOpen {
		return fmt.Errorf("message of type %d: %w", kind, err)
	}
	if err := c.send(bgpMessage(bgpOpen, openBody(asn)), bgpMessage(bgpKeepalive, nil)); err != nil {
		return err
	}
	if kind, _, err := c.read(); err != nil || kind != bgpKeepalive {
		return fmt.Errorf("message of type %d: %w", kind, err)
	}
	return nil
}

// openBody returns an OPEN with IPv4 and IPv6 unicast and four-octet ASNs.
func openBody(asn uint16) []byte {
	parameters := []byte{2, 6, 1, 4, 0, 1, 0, 1, 2, 6, 1, 4, 0, 2, 0, 1, 2, 6, 65, 4, 0, 0, byte(asn >> 8), byte(asn)}
	return append([]byte{4, byte(asn >> 8), byte(asn), 0, 9, 10, 9, 9, 9, byte(len(parameters))}, parameters...)
}

// stay sends keepalives and reads messages until the connection ends.
func (c *bgpConn) stay(ctx context.Context, h *hostile) error {
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	var sending sync.WaitGroup
	done := make(chan struct{})
	sending.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Second):
				if c.send(bgpMessage(bgpKeepalive, nil)) != nil {
					return
				}
			}
		}
	})
	defer sending.Wait()
	defer close(done)
	for {
		if _, _, err := c.read(); err != nil {
			if ctx.Err() == nil {
				h.ended.Add(1)
			}
			return err
		}
	}
}

func (c *bgpConn) send(messages ...[]byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for _, m := range messages {
		if _, err := c.Write(m); err != nil {
			return err
		}
	}
	return nil
}

// read returns the next message.
func (c *bgpConn) read() (kind byte, body []byte, err error) {
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return 0, nil, err
	}
	header := make([]byte, 19)
	if _, err := io.ReadFull(c, header); err != nil {
		return 0, nil, err
	}
	size := int(binary.BigEndian.Uint16(header[16:]))
	if size < len(header) {
		return 0, nil, fmt.Errorf("a message of %d bytes", size)
	}
	body = make([]byte, size-len(header))
	_, err = io.ReadFull(c, body)
	return header[18], body, err
}

// bgpMessage prepends a header to a body.
func bgpMessage(kind byte, body []byte) []byte {
	m := make([]byte, 16, 19+len(body))
	for i := range m {
		m[i] = 0xff
	}
	m = binary.BigEndian.AppendUint16(m, uint16(19+len(body)))
	return append(append(m, kind), body...)
}

// fullTable returns UPDATEs with so many prefixes, packed as on the Internet.
func fullTable(asn uint16, nextHop string, prefixes int) [][]byte {
	const each = 7
	hop := netip.MustParseAddr(nextHop).As4()
	attributes := []byte{
		0x40, 1, 1, 0, // ORIGIN: IGP
		0x40, 2, 10, 2, 2, 0, 0, byte(asn >> 8), byte(asn), 0, 0, 13, 28, // AS_PATH
		0x40, 3, 4, hop[0], hop[1], hop[2], hop[3], // NEXT_HOP
	}
	var all [][]byte
	for i := 0; i < prefixes; {
		body := append([]byte{0, 0, 0, byte(len(attributes))}, attributes...)
		for range min(each, prefixes-i) {
			body = append(body, 24, byte(11+i>>16), byte(i>>8), byte(i)) // from 11.0.0.0/24 on
			i++
		}
		all = append(all, bgpMessage(bgpUpdate, body))
	}
	return all
}

// malformed has UPDATEs that no router should send.
var malformed = [][]byte{
	{0xff, 0xff, 0, 0},                          // more withdrawn than there are
	{0, 0, 0xff, 0xff},                          // more attributes than there are
	{0, 0, 0, 0, 33, 1, 2, 3, 4, 5},             // a prefix of 33 bits
	{0, 0, 0, 0, 24, 192, 0, 2},                 // no attributes
	{0, 0, 0, 4, 0x40, 1, 1, 9, 24, 192, 0, 2},  // unknown origin
	{0, 0, 0, 9, 0x80, 14, 6, 0, 25, 70, 0, 0},  // truncated EVPN
	{0, 0, 0, 8, 0x40, 1, 1, 0, 0x40, 1, 1, 0},  // duplicate attribute
	{0, 0, 0, 6, 0x40, 2, 3, 9, 9, 9, 200},      // invalid AS_PATH
	{0, 0, 0, 3, 0xff, 0xff, 0xff, 24, 1, 1, 1}, // truncated attribute of unknown type
}
