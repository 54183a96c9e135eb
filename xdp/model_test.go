package xdp

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// model is a second implementation of the shield's rules, in Go and easy to read: a function of the
// frame and of the content of the maps. It has neither sockets nor a clock: pressure is Always or
// Never, and nothing listens.
type model struct {
	settings Settings
	keys     bpfKeys
	lists    []Listed
	blind    bool // cookies are the stack's
}

// verdict returns the verdict on a frame, and the reply.
func (m model) verdict(b []byte) (Verdict, []byte) {
	p, v := m.parse(b)
	if v == Other || m.drops(v) {
		return v, nil
	}
	if m.blocked(p.from) {
		return Blocked, nil
	}
	if v != verdicts {
		return v, nil
	}
	switch {
	case p.flags&(syn|ack) == syn && m.settings.Cookies == Always:
		return SYNAnswered, m.answer(b, p)
	case p.flags&(syn|ack) == syn:
		return SYNPassed, nil
	case p.flags&(syn|rst|ack) == ack && m.returned(p):
		return Cookie, nil
	case m.settings.Cookies == Always:
		return Bogus, nil
	}
	return Stray, nil
}

func (m model) drops(v Verdict) bool {
	switch v {
	case Unparsable:
		return !m.settings.PassUnparsable
	case Fragment:
		return !m.settings.PassFragments
	case Unserved:
		return !m.settings.PassUnserved
	}
	return v == Malformed
}

func (m model) blocked(from netip.Addr) bool {
	best := Listed{Allowed: true, Prefix: netip.PrefixFrom(from, 0)}
	for _, l := range m.lists {
		if l.Prefix.Contains(from) && l.Prefix.Bits() >= best.Prefix.Bits() {
			best = l
		}
	}
	return from.IsValid() && !best.Allowed
}

// parsed has the parts of a frame for a service.
type parsed struct {
	l2       int
	from, to netip.Addr
	sport    uint16
	dport    uint16
	seq, ack uint32
	flags    byte
	options  []byte
}

// parse returns a verdict, or verdicts for a segment to a served port.
func (m model) parse(b []byte) (p parsed, v Verdict) {
	kind, at := be.Uint16(b[12:]), 14
	for range 2 {
		if kind != 0x8100 && kind != 0x88a8 {
			break
		}
		if len(b) < at+4 {
			return p, Unparsable
		}
		kind = be.Uint16(b[at+2:])
		at += 4
	}
	p.l2 = at
	var rest []byte
	var proto byte
	var service *Service
	switch kind {
	case 0x8100, 0x88a8:
		return p, Unparsable
	case 0x0800:
		rest, proto, service, v = m.ipv4(&p, b[at:])
	case 0x86dd:
		rest, proto, service, v = m.ipv6(&p, b[at:])
	default:
		return p, Other
	}
	if v != verdicts {
		return p, v
	}
	switch proto {
	case 6:
	case 17:
		return p, Unserved
	default:
		return p, NotTCP
	}
	if b[0]&1 == 1 || !p.tcp(rest) {
		return p, Malformed
	}
	if !slices.Contains(service.Ports, p.dport) {
		return p, Unserved
	}
	return p, verdicts
}

func (m model) service(to netip.Addr) *Service {
	i := slices.IndexFunc(m.settings.Services, func(s Service) bool { return s.Address == to })
	if i < 0 {
		return nil
	}
	return &m.settings.Services[i]
}

func (m model) ipv4(p *parsed, b []byte) (rest []byte, proto byte, service *Service, v Verdict) {
	if len(b) < 20 {
		return nil, 0, nil, Unparsable
	}
	to := netip.AddrFrom4([4]byte(b[16:20]))
	if service = m.service(to); service == nil {
		return nil, 0, nil, Other
	}
	p.from, p.to = netip.AddrFrom4([4]byte(b[12:16])), to
	header, total := int(b[0]&15)*4, int(be.Uint16(b[2:]))
	if b[0]>>4 != 4 || header < 20 || total < header {
		return nil, 0, nil, Unparsable
	}
	if be.Uint16(b[6:])&0x3fff != 0 {
		return nil, 0, nil, Fragment
	}
	return cut(b, header, total), b[9], service, verdicts
}

// cut returns b between two offsets, as far as it exists.
func cut(b []byte, from, to int) []byte {
	to = min(to, len(b))
	return b[min(from, to):to]
}

func (m model) ipv6(p *parsed, b []byte) (rest []byte, proto byte, service *Service, v Verdict) {
	if len(b) < 40 {
		return nil, 0, nil, Unparsable
	}
	to := netip.AddrFrom16([16]byte(b[24:40]))
	if service = m.service(to); service == nil {
		return nil, 0, nil, Other
	}
	p.from, p.to = netip.AddrFrom16([16]byte(b[8:24])), to
	if b[0]>>4 != 6 {
		return nil, 0, nil, Unparsable
	}
	proto, left, at := b[6], int(be.Uint16(b[4:])), 40
	for walked := 0; ; walked++ {
		if proto == 44 {
			return nil, 0, nil, Fragment
		}
		if proto != 0 && proto != 43 && proto != 60 && proto != 51 {
			return cut(b, at, at+left), proto, service, verdicts
		}
		if walked == 9 || len(b) < at+2 {
			return nil, 0, nil, Unparsable
		}
		length := 8 + 8*int(b[at+1])
		if proto == 51 {
			length = 8 + 4*int(b[at+1])
		}
		if length > left {
			return nil, 0, nil, Unparsable
		}
		proto = b[at]
		at, left = at+length, left-length
		if walked == 8 {
			return nil, 0, nil, Unparsable
		}
	}
}

// tcp parses a segment; it returns false if TCP never sends such a segment from there.
func (p *parsed) tcp(b []byte) bool {
	if len(b) < 20 {
		return false
	}
	header := int(b[12]>>4) * 4
	if header < 20 || header > len(b) {
		return false
	}
	p.sport, p.dport = be.Uint16(b), be.Uint16(b[2:])
	p.seq, p.ack, p.flags = be.Uint32(b[4:]), be.Uint32(b[8:]), b[13]
	p.options = b[20:header]
	switch {
	case p.sport == 0:
		return false
	case p.flags&syn != 0 && p.flags&(fin|rst) != 0:
		return false
	case p.flags&(syn|rst|ack) == 0:
		return false
	case p.flags&(fin|rst) == fin|rst:
		return false
	}
	return !strange(p.from, p.to)
}

// strange reports whether an address can't be a source.
func strange(from, to netip.Addr) bool {
	if from == to {
		return true
	}
	b := from.AsSlice()
	if from.Is4() {
		return b[0] == 0 || b[0] == 127 || b[0] >= 224
	}
	return b[0] == 0xff || [8]byte(b) == [8]byte{}
}

// agreed has what a client offers in the options of its SYN.
type agreed struct {
	mss   uint16
	scale byte // 15: none
	sack  bool
	ts    bool
	value uint32
}

func offered(b []byte) agreed {
	a := agreed{scale: 15}
	for len(b) > 0 && b[0] != 0 {
		if b[0] == 1 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			break
		}
		o := b[:b[1]]
		switch {
		case o[0] == 2 && len(o) == 4:
			a.mss = be.Uint16(o[2:])
		case o[0] == 3 && len(o) == 3:
			a.scale = min(o[2], 14)
		case o[0] == 4 && len(o) == 2:
			a.sack = true
		case o[0] == 8 && len(o) == 10:
			a.ts, a.value = true, be.Uint32(o[2:])
		}
		b = b[len(o):]
	}
	return a
}

var mssTable = map[bool][]uint16{true: {536, 1300, 1440, 1460}, false: {1220, 1360, 1420, 1440}} // by Is4

func (a agreed) low(slot uint32, is4 bool) byte {
	low := byte(slot)<<7 | a.scale<<2
	if a.sack {
		low |= 1 << 6
	}
	for i, mss := range mssTable[is4] {
		if a.mss >= mss {
			low = low&^3 | byte(i)
		}
	}
	return low
}

// hash returns the hash of a cookie.
func (m model) hash(p parsed, isn uint32, low byte) uint64 {
	message := slices.Concat(p.from.AsSlice(), p.to.AsSlice())
	message = be.AppendUint16(message, p.sport)
	message = be.AppendUint16(message, p.dport)
	message = binary.LittleEndian.AppendUint32(message, isn)
	return sipHash(m.keys.Slots[low>>7], append(message, low))
}

// returned reports whether an ACK has a cookie that is valid here.
func (m model) returned(p parsed) bool {
	if m.blind || m.settings.Cookies != Always && len(m.settings.Key) == 0 {
		return false
	}
	value := p.ack - 1
	return uint32(m.hash(p, p.seq-1, byte(value)))<<8 == value&^0xff
}

// answer returns the frame that answers a SYN.
func (m model) answer(b []byte, p parsed) []byte {
	a := offered(p.options)
	low := a.low(m.keys.Current, p.from.Is4())
	hash := m.hash(p, p.seq, low)
	mtu := m.settings.filled().MTU
	mss := uint16(mtu - 40)
	if !p.from.Is4() {
		mss = uint16(mtu - 60)
	}
	tcp := be.AppendUint16(nil, p.dport)
	tcp = be.AppendUint16(tcp, p.sport)
	tcp = be.AppendUint32(tcp, uint32(hash)<<8|uint32(low))
	tcp = be.AppendUint32(tcp, p.seq+1)
	options := be.AppendUint16([]byte{2, 4}, mss)
	sack, scale := []byte{1, 1}, []byte{1, 3, 3, 7}
	if a.sack {
		sack = []byte{4, 2}
	}
	switch {
	case a.ts:
		options = slices.Concat(options, sack, []byte{8, 10}, be.AppendUint32(nil, uint32(hash>>32)), be.AppendUint32(nil, a.value))
	case a.sack:
		options = slices.Concat(options, []byte{1, 1}, sack)
	}
	if a.scale != 15 {
		options = append(options, scale...)
	}
	tcp = append(tcp, byte(5+len(options)/4)<<4, syn|ack, 29200>>8, 29200&0xff, 0, 0, 0, 0)
	tcp = append(tcp, options...)
	be.PutUint16(tcp[16:], tcpSum(p.to, p.from, tcp))

	out := slices.Concat(b[6:12], b[0:6], b[12:p.l2])
	var ip []byte
	if p.from.Is4() {
		ip = []byte{0x45, 0, 0, byte(20 + len(tcp)), 0, 0, 0x40, 0, 64, 6, 0, 0}
		ip = slices.Concat(ip, p.to.AsSlice(), p.from.AsSlice())
		be.PutUint16(ip[10:], checksum(ip))
	} else {
		ip = slices.Concat([]byte{0x60, 0, 0, 0, 0, byte(len(tcp)), 6, 64}, p.to.AsSlice(), p.from.AsSlice())
	}
	return slices.Concat(out, ip, tcp)
}

// sipHash computes SipHash-2-4.
func sipHash(key [2]uint64, message []byte) uint64 {
	v := [4]uint64{0x736f6d6570736575 ^ key[0], 0x646f72616e646f6d ^ key[1], 0x6c7967656e657261 ^ key[0], 0x7465646279746573 ^ key[1]}
	rounds := func(n int) {
		for range n {
			v[0] += v[1]
			v[2] += v[3]
			v[1] = bits.RotateLeft64(v[1], 13) ^ v[0]
			v[3] = bits.RotateLeft64(v[3], 16) ^ v[2]
			v[0] = bits.RotateLeft64(v[0], 32)
			v[2] += v[1]
			v[0] += v[3]
			v[1] = bits.RotateLeft64(v[1], 17) ^ v[2]
			v[3] = bits.RotateLeft64(v[3], 21) ^ v[0]
			v[2] = bits.RotateLeft64(v[2], 32)
		}
	}
	length := len(message)
	for len(message)%8 != 7 {
		message = append(message, 0)
	}
	message = append(message, byte(length))
	for ; len(message) > 0; message = message[8:] {
		word := binary.LittleEndian.Uint64(message)
		v[3] ^= word
		rounds(2)
		v[0] ^= word
	}
	v[2] ^= 0xff
	rounds(4)
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}
