package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// TCP flags (RFC 9293 3.1).
const (
	FIN = 0x01
	SYN = 0x02
	RST = 0x04
	ACK = 0x10
)

// segment is a TCP segment in an Ethernet frame, without IP options.
type segment struct {
	toMAC, fromMAC net.HardwareAddr
	from, to       netip.AddrPort
	seq, ack       uint32
	flags          byte
	options        []byte // a multiple of 4 bytes
	data           []byte
}

// Offsets of fields in a frame.
const (
	ethernetSize       = 14
	ipv4Size, ipv6Size = 20, 40
	tcpSize            = 20
	source4, source6   = ethernetSize + 12, ethernetSize + 8
	checksum4          = ethernetSize + 10 // of the IPv4 header
)

// linux has the options of a SYN as Linux sends it: MSS 1460, SACK permitted, timestamps, window
// scale 7.
var linux = []byte{2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7}

// tcpAt returns where the TCP header begins in a frame of the segment.
func (s segment) tcpAt() int {
	if s.to.Addr().Is4() {
		return ethernetSize + ipv4Size
	}
	return ethernetSize + ipv6Size
}

// frame encodes the segment with its headers and checksums.
func (s segment) frame() []byte {
	at := s.tcpAt()
	size := tcpSize + len(s.options) + len(s.data)
	b := make([]byte, at+size)
	copy(b, s.toMAC)
	copy(b[6:], s.fromMAC)
	ip, tcp := b[ethernetSize:at], b[at:]
	if s.to.Addr().Is4() {
		binary.BigEndian.PutUint16(b[12:], unix.ETH_P_IP)
		ip[0], ip[6], ip[8], ip[9] = 0x45, 0x40, 64, unix.IPPROTO_TCP // don't fragment
		binary.BigEndian.PutUint16(ip[2:], uint16(ipv4Size+size))
		copy(ip[12:], s.from.Addr().AsSlice())
		copy(ip[16:], s.to.Addr().AsSlice())
		binary.BigEndian.PutUint16(ip[10:], ^fold(sum(ip)))
	} else {
		binary.BigEndian.PutUint16(b[12:], unix.ETH_P_IPV6)
		ip[0], ip[6], ip[7] = 0x60, unix.IPPROTO_TCP, 64
		binary.BigEndian.PutUint16(ip[4:], uint16(size))
		copy(ip[8:], s.from.Addr().AsSlice())
		copy(ip[24:], s.to.Addr().AsSlice())
	}
	binary.BigEndian.PutUint16(tcp, s.from.Port())
	binary.BigEndian.PutUint16(tcp[2:], s.to.Port())
	binary.BigEndian.PutUint32(tcp[4:], s.seq)
	binary.BigEndian.PutUint32(tcp[8:], s.ack)
	tcp[12], tcp[13] = byte((tcpSize+len(s.options))/4)<<4, s.flags
	binary.BigEndian.PutUint16(tcp[14:], 64240) // window
	copy(tcp[tcpSize:], s.options)
	copy(tcp[tcpSize+len(s.options):], s.data)
	binary.BigEndian.PutUint16(tcp[16:], ^fold(s.pseudo(size)+sum(tcp)))
	return b
}

// pseudo returns the sum of the pseudo-header that TCP's checksum also covers.
func (s segment) pseudo(size int) uint32 {
	return sum(s.from.Addr().AsSlice()) + sum(s.to.Addr().AsSlice()) + unix.IPPROTO_TCP + uint32(size)
}

// parseSegment parses a frame; ok is false for anything but TCP over IP without options or
// extension headers.
func parseSegment(b []byte) (s segment, ok bool) {
	if len(b) < ethernetSize+ipv4Size {
		return s, false
	}
	ip := b[ethernetSize:]
	var from, to netip.Addr
	size := ipv4Size
	switch kind := binary.BigEndian.Uint16(b[12:]); {
	case kind == unix.ETH_P_IP && ip[0] == 0x45 && ip[9] == unix.IPPROTO_TCP:
		from, to = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		ip = ip[:min(len(ip), int(binary.BigEndian.Uint16(ip[2:])))]
	case kind == unix.ETH_P_IPV6 && len(ip) >= ipv6Size && ip[6] == unix.IPPROTO_TCP:
		from, to, size = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:])), ipv6Size
		ip = ip[:min(len(ip), ipv6Size+int(binary.BigEndian.Uint16(ip[4:])))]
	default:
		return s, false
	}
	if len(ip) < size+tcpSize {
		return s, false
	}
	tcp := ip[size:]
	header := int(tcp[12]>>4) * 4
	if header < tcpSize || header > len(tcp) {
		return s, false
	}
	return segment{
		toMAC: b[:6], fromMAC: b[6:12],
		from: netip.AddrPortFrom(from, binary.BigEndian.Uint16(tcp)), to: netip.AddrPortFrom(to, binary.BigEndian.Uint16(tcp[2:])),
		seq: binary.BigEndian.Uint32(tcp[4:]), ack: binary.BigEndian.Uint32(tcp[8:]), flags: tcp[13],
		options: tcp[tcpSize:header], data: tcp[header:],
	}, true
}

// timestamp returns the value of the timestamps option, if present.
func (s segment) timestamp() (value uint32, ok bool) {
	for o := s.options; len(o) > 0; {
		switch {
		case o[0] == 0:
			return 0, false
		case o[0] == 1:
			o = o[1:]
		case len(o) < 2 || int(o[1]) < 2 || int(o[1]) > len(o):
			return 0, false
		case o[0] == 8 && o[1] == 10:
			return binary.BigEndian.Uint32(o[2:]), true
		default:
			o = o[o[1]:]
		}
	}
	return 0, false
}

func (s segment) String() string {
	return fmt.Sprintf("%s > %s flags %#02x seq %d ack %d, %d bytes", s.from, s.to, s.flags, s.seq, s.ack, len(s.data))
}

// sum adds up 16-bit words, as the checksums of IP and TCP do (RFC 1071).
func sum(b []byte) (n uint32) {
	for ; len(b) >= 2; b = b[2:] {
		n += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		n += uint32(b[0]) << 8
	}
	return n
}

func fold(n uint32) uint16 {
	n = n&0xffff + n>>16
	return uint16(n + n>>16)
}
