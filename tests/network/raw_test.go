package network

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Flags of TCP.
const (
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// probe sends single TCP segments from 198.51.100.3 to port 8025 of 192.0.2.25.
type probe struct {
	c      *changing
	v4, v6 int // raw sockets
}

// answer is what comes back for a segment.
type answer struct {
	flags string // "nothing" without an answer
	seq   uint32
	size  int // option of the maximum segment size; 0: none
}

// raw opens sockets at the peer, for the time of the case.
func (c *changing) raw() *probe {
	c.t.Helper()
	p := &probe{c: c}
	var err4, err6 error
	c.peer.inside(func() {
		p.v4, err4 = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		p.v6, err6 = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	})
	if err4 != nil || err6 != nil {
		c.t.Fatal(err4, err6)
	}
	c.t.Cleanup(func() { _, _ = unix.Close(p.v4), unix.Close(p.v6) })
	if err := unix.SetsockoptTimeval(p.v4, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		c.t.Fatal(err)
	}
	return p
}

var (
	probeFrom = netip.MustParseAddr("198.51.100.3").As4()
	probeTo   = netip.MustParseAddr("192.0.2.25").As4()
)

const probePort = 8025

// send sends a segment from a port, which belongs to no connection.
func (p *probe) send(port uint16, flags byte) { p.segment(port, flags, 1, 1) }

// complete sends the last segment of a handshake.
func (p *probe) complete(port uint16, a answer) { p.segment(port, flagACK, 2, a.seq+1) }

func (p *probe) segment(port uint16, flags byte, seq, ack uint32) {
	p.c.t.Helper()
	segment := make([]byte, 20, 24)
	binary.BigEndian.PutUint16(segment, port)
	binary.BigEndian.PutUint16(segment[2:], probePort)
	binary.BigEndian.PutUint32(segment[4:], seq)
	segment[12], segment[13], segment[14] = 5<<4, flags, 0xff
	if flags&flagACK != 0 {
		binary.BigEndian.PutUint32(segment[8:], ack)
	}
	if flags&flagSYN != 0 {
		segment[12] = 6 << 4
		segment = append(segment, 2, 4, 0xff, 0xff) // takes segments of any size
	}
	binary.BigEndian.PutUint16(segment[16:], checksum(probeFrom[:], probeTo[:], 6, segment))
	if err := unix.Sendto(p.v4, segment, 0, &unix.SockaddrInet4{Addr: probeTo}); err != nil {
		p.c.t.Fatal(err)
	}
}

// ask sends a segment and waits for its answer.
func (p *probe) ask(port uint16, flags byte) answer {
	p.c.t.Helper()
	p.send(port, flags)
	buf := make([]byte, 2048)
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		n, _, err := unix.Recvfrom(p.v4, buf, 0)
		if err != nil {
			continue // within the limit it may still come
		}
		header := int(buf[0]&15) * 4
		if n < header+20 {
			continue
		}
		if s := buf[header:n]; binary.BigEndian.Uint16(s) == probePort && binary.BigEndian.Uint16(s[2:]) == port {
			return parseAnswer(s)
		}
	}
	return answer{flags: "nothing"}
}

func parseAnswer(s []byte) answer {
	a := answer{seq: binary.BigEndian.Uint32(s[4:])}
	var names []string
	for _, f := range []struct {
		bit  byte
		name string
	}{{flagSYN, "SYN"}, {flagRST, "RST"}, {flagACK, "ACK"}} {
		if s[13]&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	a.flags = strings.Join(names, " ")
	if s[13]&flagRST != 0 {
		a.flags = "RST"
	}
	for options := s[20:min(len(s), int(s[12]>>4)*4)]; len(options) >= 4; options = options[max(1, int(options[1])):] {
		if options[0] == 2 {
			a.size = int(binary.BigEndian.Uint16(options[2:]))
			break
		}
	}
	return a
}

// extended sends a UDP datagram with n empty extension headers before it.
func (p *probe) extended(from, to string, n int, port uint16) {
	p.c.t.Helper()
	const destinationOptions, udp = 60, 17
	src, dst := netip.MustParseAddr(from).As16(), netip.MustParseAddr(to).As16()
	datagram := make([]byte, 12)
	binary.BigEndian.PutUint16(datagram, 9998)
	binary.BigEndian.PutUint16(datagram[2:], port)
	binary.BigEndian.PutUint16(datagram[4:], uint16(len(datagram)))
	binary.BigEndian.PutUint16(datagram[6:], checksum(src[:], dst[:], udp, datagram))
	packet := make([]byte, 40)
	packet[0], packet[6], packet[7] = 6<<4, destinationOptions, 64
	binary.BigEndian.PutUint16(packet[4:], uint16(8*n+len(datagram)))
	copy(packet[8:], src[:])
	copy(packet[24:], dst[:])
	for i := range n {
		next := byte(destinationOptions)
		if i == n-1 {
			next = udp
		}
		packet = append(packet, next, 0, 1, 4, 0, 0, 0, 0) // padding of six bytes
	}
	if err := unix.Sendto(p.v6, append(packet, datagram...), 0, &unix.SockaddrInet6{Addr: dst}); err != nil {
		p.c.t.Fatal(err)
	}
}

// checksum is that of TCP and UDP, over their pseudo-header (RFC 9293 section 3.1).
func checksum(from, to []byte, protocol byte, data []byte) uint16 {
	var sum uint32
	add := func(b []byte) {
		for i := 0; i < len(b); i += 2 {
			sum += uint32(b[i]) << 8
			if i+1 < len(b) {
				sum += uint32(b[i+1])
			}
		}
	}
	add(from)
	add(to)
	add([]byte{0, protocol, byte(len(data) >> 8), byte(len(data))})
	add(data)
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
