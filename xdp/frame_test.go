package xdp

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// Flags of a TCP header.
const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
	urg
)

// frame describes an Ethernet frame that a test sends. Zero fields default to those of a
// well-formed SYN.
type frame struct {
	tags       []uint16 // ethertypes of VLAN tags, the outer one first
	vlan       uint16   // content of the tags
	from, to   netip.Addr
	sport      uint16
	dport      uint16
	flags      byte
	seq, ack   uint32
	options    []byte // of TCP, a multiple of 4
	ipOptions  []byte // of IPv4, a multiple of 4
	extensions []byte // IPv6: the types of extension headers, in order
	proto      byte   // 0: TCP
	fragment   uint16 // IPv4: flags and offset
	payload    []byte
	doff       int // words of the TCP header; 0: the real length
	pad        int // bytes after the packet
}

var be = binary.BigEndian

// bytes encodes the frame with correct checksums.
func (f frame) bytes() []byte {
	if f.proto == 0 {
		f.proto = 6
	}
	return f.around(f.upper())
}

// around adds Ethernet and IP headers around f's payload, or a part of it.
func (f frame) around(upper []byte) []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	for _, t := range f.tags {
		b = be.AppendUint16(b, t)
		b = be.AppendUint16(b, f.vlan)
	}
	if f.from.Is4() {
		b = be.AppendUint16(b, 0x0800)
		b = append(b, f.ipv4(len(upper))...)
	} else {
		b = be.AppendUint16(b, 0x86dd)
		b = append(b, f.ipv6(len(upper))...)
	}
	return append(append(b, upper...), make([]byte, f.pad)...)
}

func (f frame) ipv4(payload int) []byte {
	header := 20 + len(f.ipOptions)
	b := []byte{0x40 | byte(header/4), 0}
	b = be.AppendUint16(b, uint16(header+payload))
	b = append(b, 0x12, 0x34)
	b = be.AppendUint16(b, f.fragment)
	b = append(b, 57, f.proto, 0, 0)
	b = append(append(b, f.from.AsSlice()...), f.to.AsSlice()...)
	b = append(b, f.ipOptions...)
	be.PutUint16(b[10:], checksum(b))
	return b
}

func (f frame) ipv6(payload int) []byte {
	var chain []byte
	next := f.proto
	for _, e := range slices.Backward(f.extensions) {
		h := make([]byte, 8)
		if e == 51 {
			h = make([]byte, 12)
			h[1] = 1
		}
		h[0] = next
		chain = append(h, chain...)
		next = e
	}
	b := []byte{0x60, 0, 0, 0}
	b = be.AppendUint16(b, uint16(len(chain)+payload))
	b = append(b, next, 57)
	b = append(append(b, f.from.AsSlice()...), f.to.AsSlice()...)
	return append(b, chain...)
}

func (f frame) upper() []byte {
	if f.proto != 6 {
		return slices.Concat(be.AppendUint16(nil, f.sport), be.AppendUint16(nil, f.dport), []byte{0, 8, 0, 0}, f.payload)
	}
	b := be.AppendUint16(nil, f.sport)
	b = be.AppendUint16(b, f.dport)
	b = be.AppendUint32(b, f.seq)
	b = be.AppendUint32(b, f.ack)
	words := 5 + len(f.options)/4
	if f.doff != 0 {
		words = f.doff
	}
	b = append(b, byte(words)<<4, f.flags, 0xfa, 0xf0, 0, 0, 0, 0)
	b = append(append(b, f.options...), f.payload...)
	be.PutUint16(b[16:], tcpSum(f.from, f.to, b))
	return b
}

// reply returns a client's reply to a SYN-ACK.
func (f frame) reply(answer []byte) frame {
	_, tcp := headers(answer)
	f.seq++
	f.ack = be.Uint32(tcp[4:]) + 1
	f.flags = ack
	f.options = nil
	if len(tcp) >= 36 && tcp[26] == 8 { // timestamps are only in one place
		f.options = slices.Concat([]byte{1, 1, 8, 10}, []byte{0, 0, 0x30, 0x39}, tcp[28:32])
	}
	return f
}

// headers splits a frame without extension headers into IP and TCP.
func headers(b []byte) (ip, tcp []byte) {
	at := 12
	for t := be.Uint16(b[at:]); t == 0x8100 || t == 0x88a8; t = be.Uint16(b[at:]) {
		at += 4
	}
	at += 2
	if b[at]>>4 == 4 {
		n := int(b[at]&15) * 4
		return b[at : at+n], b[at+n:]
	}
	return b[at : at+40], b[at+40:]
}

// checksum returns the checksum of RFC 1071.
func checksum(parts ...[]byte) uint16 {
	sum := uint32(0)
	for _, b := range parts {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(be.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func tcpSum(from, to netip.Addr, segment []byte) uint16 {
	pseudo := be.AppendUint32(nil, uint32(len(segment)))
	return checksum(from.AsSlice(), to.AsSlice(), pseudo, []byte{0, 6}, segment)
}

// dice generates random frames, most of them close to something that matters.
type dice struct{ *rand.Rand }

func (d dice) one(in int) bool { return d.IntN(in) == 0 }

func (d dice) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(d.Uint32())
	}
	return b
}

func pick[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

// frame generates a frame for one of the services, or something similar.
func (d dice) frame(services []Service) frame {
	s := pick(d, services...)
	f := frame{to: s.Address, from: d.source(s.Address), sport: uint16(d.Uint32()), dport: pick(d, s.Ports...), seq: d.Uint32(), ack: d.Uint32()}
	f.flags = pick[byte](d, syn, syn, syn, ack, ack, ack|psh, rst, syn|ack, fin|ack, syn|0xc0, byte(d.Uint32()))
	f.options = d.options()
	f.tags = pick(d, nil, nil, nil, []uint16{0x8100}, []uint16{0x88a8, 0x8100}, []uint16{0x8100, 0x8100}, []uint16{0x8100, 0x8100, 0x8100})
	f.vlan = uint16(d.Uint32())
	f.pad = pick(d, 0, 0, 6, 18)
	if d.one(6) {
		f.ipOptions = d.bytes(4 * d.IntN(11))
		for range d.IntN(11) {
			f.extensions = append(f.extensions, pick[byte](d, 0, 43, 60, 60, 51, 44, 135))
		}
	}
	if d.one(12) {
		f.fragment = pick[uint16](d, 0x4000, 0x2000, 1, 0x2001, 0x8000, uint16(d.Uint32()))
	}
	if d.one(12) {
		f.proto = pick[byte](d, 1, 17, 58, 132, byte(d.Uint32()))
	}
	if d.one(12) {
		f.dport = uint16(d.Uint32N(100))
	}
	if d.one(20) {
		f.sport = 0
	}
	if d.one(12) {
		f.doff = d.IntN(16)
	}
	if d.one(4) {
		f.payload = d.bytes(d.IntN(200))
	}
	return f
}

func (d dice) source(to netip.Addr) netip.Addr {
	if to.Is4() {
		known := pick(d, "198.51.100.7", "198.51.100.200", "203.0.113.9", "203.0.113.77", "127.0.0.1", "0.0.0.9", "224.0.0.1", to.String())
		if d.one(2) {
			return netip.MustParseAddr(known)
		}
		return netip.AddrFrom4([4]byte(d.bytes(4)))
	}
	known := pick(d, "2001:db8:7::7", "2001:db8:7::8", "2001:db8:9::1", "::1", "::ffff:192.0.2.1", "ff02::1", to.String())
	if d.one(2) {
		return netip.MustParseAddr(known)
	}
	return netip.AddrFrom16([16]byte(d.bytes(16)))
}

// options generates TCP options, with and without errors.
func (d dice) options() []byte {
	switch d.IntN(10) {
	case 0, 1:
		return d.bytes(4 * d.IntN(11))
	case 2, 3: // those of Linux, or similar
		b := slices.Clone(pick(d, linux, []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}))
		if d.one(2) {
			b[d.IntN(len(b))] = byte(d.Uint32N(16))
		}
		return b
	}
	var b []byte
	for range d.IntN(7) {
		switch d.IntN(7) {
		case 0:
			b = append(b, 2, 4, pick[byte](d, 0, 2, 4, 5, 5, 0x22), byte(d.Uint32()))
		case 1:
			b = append(b, 3, 3, byte(d.IntN(17)))
		case 2:
			b = append(b, 4, 2)
		case 3:
			b = append(append(b, 8, 10), d.bytes(8)...)
		case 4:
			b = append(b, 1)
		case 5:
			b = append(b, pick[byte](d, 5, 30, 34), pick[byte](d, 0, 1, 2, 4, 60), 0, 0)
		case 6:
			b = append(b, pick[byte](d, 0, 1, 2, 3, 8))
		}
	}
	b = b[:min(len(b), 40)]
	for len(b)%4 != 0 {
		b = append(b, 1)
	}
	return b
}

// spoil changes a few bytes or truncates the frame, down to an Ethernet header.
func (d dice) spoil(b []byte) []byte {
	b = slices.Clone(b)
	for range d.IntN(4) {
		b[d.IntN(len(b))] = byte(d.Uint32())
	}
	if d.one(4) {
		b[12+d.IntN(len(b)-12)] ^= 1 << d.IntN(8)
	}
	if d.one(3) {
		b = b[:14+d.IntN(len(b)-13)]
	}
	return b
}
