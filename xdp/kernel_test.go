package xdp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// open opens a shield for a test, or skips the test where that is impossible.
func open(t testing.TB, o Options) *Shield {
	t.Helper()
	s, err := Open(o)
	var missing *MissingError
	if errors.As(err, &missing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if s.admit == nil && !o.stackCookies {
		t.Skip("the shield has no cookies of its own here: ", s.why)
	}
	return s
}

func configured(t testing.TB, o Options, settings Settings) *Shield {
	t.Helper()
	s := open(t, o)
	if err := s.Configure(settings); err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	addr  = netip.MustParseAddr
	key   = []byte("0123456789abcdef")
	mail4 = Service{addr("192.0.2.25"), []uint16{25, 8025}}
	mail6 = Service{addr("2001:db8:25::25"), []uint16{25, 8025}}
	other = Service{addr("192.0.2.26"), []uint16{1, 2, 3, 4, 5, 6, 7, 8}}
	three = []Service{mail4, mail6, other}
)

func synTo(s Service) frame {
	f := frame{from: addr("203.0.113.9"), to: s.Address, sport: 40000, dport: s.Ports[0], seq: 1e9, flags: syn}
	if !s.Address.Is4() {
		f.from = addr("2001:db8:9::1")
	}
	return f
}

// linux has the options of a SYN from Linux.
var linux = []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0, 1, 3, 3, 9}

// Return values of XDP.
const (
	xdpDrop = 1
	xdpPass = 2
	xdpTX   = 3
)

// run sends one frame through the program and returns the action and the resulting frame.
func run(t testing.TB, p *ebpf.Program, frame []byte) (uint32, []byte) {
	t.Helper()
	action, out, err := p.Test(frame)
	if err != nil {
		t.Fatal(err)
	}
	return action, out
}

// counted determines which verdict's counter increased since the last call, and by how many bytes.
// It fails the test unless exactly one packet of one verdict was counted.
type counted struct {
	s    *Shield
	last []Counter
}

func watch(t testing.TB, s *Shield) *counted {
	c := &counted{s: s}
	c.last = c.read(t)
	return c
}

func (c *counted) read(t testing.TB) []Counter {
	t.Helper()
	all, err := c.s.Counters()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (c *counted) next(t testing.TB) (v Verdict, size uint64) {
	t.Helper()
	now := c.read(t)
	packets := uint64(0)
	for i, after := range now {
		before := c.last[i]
		if n := after.Packets - before.Packets; n > 0 {
			packets += n
			v, size = after.Verdict, after.Bytes-before.Bytes
		}
	}
	c.last = now
	if packets != 1 {
		t.Fatalf("%d verdicts were counted for one frame", packets)
	}
	return v, size
}

// action returns the XDP action of a verdict.
func (m model) action(v Verdict) uint32 {
	switch {
	case v == SYNAnswered:
		return xdpTX
	case m.drops(v) || v == Blocked || v == Bogus:
		return xdpDrop
	}
	return xdpPass
}

func TestKernelAndModelAgree(t *testing.T) {
	lists := []Listed{
		{Prefix: netip.MustParsePrefix("203.0.113.0/24")},
		{Prefix: netip.MustParsePrefix("203.0.113.64/26"), Allowed: true},
		{Prefix: netip.MustParsePrefix("203.0.113.77/32")},
		{Prefix: netip.MustParsePrefix("2001:db8:7::/48")},
		{Prefix: netip.MustParsePrefix("2001:db8:7::8/128"), Allowed: true},
	}
	for name, settings := range map[string]Settings{
		"pressure":          {Services: three, Cookies: Always},
		"peace":             {Services: three, Cookies: Never, Key: key, MTU: 1400},
		"peace, no key":     {Services: three, Cookies: Never},
		"lenient":           {Services: three, Cookies: Always, Key: key, MTU: 9000, PassUnparsable: true, PassFragments: true, PassUnserved: true},
		"nothing protected": {Cookies: Always},
	} {
		t.Run(name, func(t *testing.T) {
			s := configured(t, Options{}, settings)
			m := model{settings: settings, lists: lists}
			for _, l := range lists {
				if err := s.list(l); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			if m.keys, err = only[bpfKeys](s.maps.Keys); err != nil {
				t.Fatal(err)
			}
			seed := uint64(time.Now().UnixNano())
			agree(t, s, m, dice{rand.New(rand.NewPCG(seed, 1))}, seed)
		})
	}
}

// agree compares the program and the model on a few thousand frames.
func agree(t *testing.T, s *Shield, m model, d dice, seed uint64) {
	const frames = 6000
	seen := map[Verdict]int{}
	count := watch(t, s)
	for i := range frames {
		f := d.frame(three)
		b := f.bytes()
		if d.one(3) { // returns a cookie, or something similar
			f.flags, f.proto, f.fragment, f.doff, f.sport = syn, 0, 0, 0, f.sport|1
			p, v := m.parse(f.bytes())
			if v == verdicts {
				f = f.reply(m.answer(f.bytes(), p))
				f.flags = pick[byte](d, ack, ack, ack|psh, ack|fin, ack|rst)
				f.seq += uint32(d.IntN(20) / 19)
				b = f.bytes()
			}
		}
		if d.one(2) {
			b = d.spoil(b)
		}
		want, _ := m.verdict(b)
		seen[want]++
		if fault := m.differs(t, s, count, b); fault != "" {
			t.Fatalf("seed %d, frame %d: %s", seed, i, fault)
		}
	}
	t.Log(fmt.Sprint(seen))
}

// differs describes how kernel and model disagree about a frame.
func (m model) differs(t *testing.T, s *Shield, count *counted, b []byte) string {
	want, answer := m.verdict(b)
	action, out := run(t, s.shield, b)
	got, size := count.next(t)
	if answer == nil {
		answer = b
	}
	if got == want && action == m.action(want) && size == uint64(len(b)) && bytes.Equal(out, answer) {
		return ""
	}
	return fmt.Sprintf("kernel says %s (action %d, %d bytes counted), model %s\nframe  %x\nkernel %x\nmodel  %x", got, action, size, want, b, out, answer)
}

// FuzzKernelAndModelAgree looks for a frame on which the kernel's program and the model disagree.
func FuzzKernelAndModelAgree(f *testing.F) {
	for _, service := range three {
		seed := synTo(service)
		seed.options = linux
		f.Add(seed.bytes())
		seed.tags, seed.ipOptions, seed.extensions = []uint16{0x88a8, 0x8100}, make([]byte, 8), []byte{0, 60, 51}
		f.Add(seed.bytes())
		seed.flags = ack
		f.Add(seed.bytes())
	}
	settings := Settings{Services: three, Cookies: Always, Key: key}
	s := configured(f, Options{}, settings)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 14 || len(b) > 1500 {
			t.Skip("the kernel runs no such frame")
		}
		keys, err := only[bpfKeys](s.maps.Keys)
		if err != nil {
			t.Fatal(err)
		}
		if fault := (model{settings: settings, keys: keys}).differs(t, s, watch(t, s), b); fault != "" {
			t.Fatal(fault)
		}
	})
}

func TestSipHash(t *testing.T) {
	// From the SipHash paper (Aumasson and Bernstein, appendix A).
	message := make([]byte, 15)
	for i := range message {
		message[i] = byte(i)
	}
	got := sipHash([2]uint64{0x0706050403020100, 0x0f0e0d0c0b0a0908}, message)
	if want := uint64(0xa129ca6149be45e5); got != want {
		t.Errorf("the model's SipHash gives %x, not %x", got, want)
	}
}
