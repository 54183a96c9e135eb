package xdp

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// stores writes a frame to where R4 points. It overwrites R0.
func stores(frame []byte) (code asm.Instructions) {
	at := 0
	for ; at+8 <= len(frame); at += 8 {
		code = append(code, asm.LoadImm(asm.R0, int64(binary.LittleEndian.Uint64(frame[at:])), asm.DWord),
			asm.StoreMem(asm.R4, int16(at), asm.R0, asm.DWord))
	}
	for ; at < len(frame); at++ {
		code = append(code, asm.StoreImm(asm.R4, int16(at), int64(frame[at]), asm.Byte))
	}
	return code
}

// writer returns a program that restores the frame and continues with next: repeated test runs pass
// on the frame as the program left it.
func writer(b testing.TB, frame []byte, next *ebpf.Program) *ebpf.Program {
	programs, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { programs.Close() })
	if err := programs.Put(first, uint32(next.FD())); err != nil {
		b.Fatal(err)
	}
	code := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.LoadMem(asm.R4, asm.R6, 0, asm.Word),
		asm.Sub.Reg(asm.R3, asm.R4),
		asm.Mov.Imm(asm.R2, int32(len(frame))),
		asm.Sub.Reg(asm.R2, asm.R3),
		asm.FnXdpAdjustTail.Call(),
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word),
		asm.LoadMem(asm.R4, asm.R6, 0, asm.Word),
		asm.Mov.Reg(asm.R5, asm.R4),
		asm.Add.Imm(asm.R5, int32(len(frame))),
		asm.JGT.Reg(asm.R5, asm.R3, "end"),
	}
	code = append(code, stores(frame)...)
	code = append(code,
		asm.Mov.Reg(asm.R1, asm.R6), asm.LoadMapPtr(asm.R2, programs.FD()), asm.Mov.Imm(asm.R3, 0), asm.FnTailCall.Call(),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("end"), asm.Return())
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, AttachType: ebpf.AttachXDP, License: "GPL", Instructions: code})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.Close() })
	return p
}

const repeats = 400_000 // in one test run

// cost returns the time that the program takes per packet, in ns of this thread's CPU time, so that
// the machine's other load doesn't count. The caller must lock the thread.
func cost(b testing.TB, p *ebpf.Program, frame []byte) float64 {
	begin := cpuTime(b)
	if _, err := p.Run(&ebpf.RunOptions{Data: frame, Repeat: repeats}); err != nil {
		b.Fatal(err)
	}
	return float64(cpuTime(b)-begin) / repeats
}

func cpuTime(b testing.TB) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}

// BenchmarkVerdict measures ns per packet for each verdict, and its ratio to the floor measured at
// the same time.
func BenchmarkVerdict(b *testing.B) {
	for _, c := range benchCases {
		for name, service := range map[string]Service{"ipv4": mail4, "ipv6": mail6} {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				inNamespace(b, func() { c.measure(b, service) })
			})
		}
	}
}

type benchCase struct {
	name    string
	want    Verdict
	mode    Cookies
	frame   func(plain, full, valid frame) frame // made from a bare SYN, a SYN of Linux, and the ACK that returns a cookie
	admit   bool                                 // include the cost of the program at TC ingress
	listing int                                  // prefixes on the block list, besides the source of Blocked
}

var benchCases = []benchCase{
	{name: "other traffic", want: Other, frame: func(f, _, _ frame) frame { f.to = f.from.Next(); return f }},
	{name: "malformed", want: Malformed, frame: func(f, _, _ frame) frame { f.flags = syn | fin; return f }},
	{name: "unserved", want: Unserved, frame: func(f, _, _ frame) frame { f.dport = 22; return f }},
	{name: "blocked", want: Blocked, frame: func(f, _, _ frame) frame { return f }},
	{name: "blocked, 90k listed", want: Blocked, frame: func(f, _, _ frame) frame { return f }, listing: 90_000},
	{name: "SYN passed", want: SYNPassed, mode: Never, frame: func(_, f, _ frame) frame { return f }},
	{name: "SYN answered", want: SYNAnswered, frame: func(f, _, _ frame) frame { return f }},
	{name: "SYN of Linux answered", want: SYNAnswered, frame: func(_, f, _ frame) frame { return f }},
	{name: "SYN of Linux answered, 90k listed", want: SYNAnswered, frame: func(_, f, _ frame) frame { return f }, listing: 90_000},
	{name: "valid ACK", want: Cookie, frame: func(_, _, f frame) frame { return f }},
	{name: "valid ACK and its admission", want: Cookie, frame: func(_, _, f frame) frame { return f }, admit: true},
	{name: "bogus ACK", want: Bogus, frame: func(_, _, f frame) frame { f.ack += 256; return f }},
	{name: "established", want: Established, frame: func(_, _, f frame) frame { f.sport = benchPort; return f }},
}

const benchPort = 39999 // of the connected client

func (c benchCase) measure(b *testing.B, service Service) {
	for _, prefix := range []string{"192.0.2.25/32", "203.0.113.9/32", "2001:db8:25::25/128", "2001:db8:9::1/128"} {
		addAddress(b, "lo", prefix)
	}
	s := configured(b, Options{}, Settings{Services: three, Key: key, Cookies: Always})
	plain := synTo(service)
	full := plain
	full.options = linux
	_, answer := run(b, s.shield, full.bytes())
	bytes := c.frame(plain, full, full.reply(answer)).bytes()
	connect(b, service, plain.from)
	if c.mode == Never {
		if err := s.Configure(Settings{Services: three, Key: key, Cookies: Never}); err != nil {
			b.Fatal(err)
		}
	}
	c.list(b, s)
	count := watch(b, s)
	run(b, s.shield, bytes)
	if got, _ := count.next(b); got != c.want {
		b.Fatalf("the frame is %s, not %s", got, c.want)
	}

	drop := returns(b, xdpDrop) // the floor drops without looking
	write, writeAndDrop := writer(b, bytes, s.shield), writer(b, bytes, drop)
	var costs, ratios []float64
	for b.Loop() {
		floor := cost(b, drop, bytes)
		ns := 0.0
		if c.want == SYNAnswered {
			ns = cost(b, write, bytes) - cost(b, writeAndDrop, bytes) + floor
		} else {
			ns = cost(b, s.shield, bytes)
		}
		if c.admit {
			ns += cost(b, s.admit, bytes)
		}
		costs, ratios = append(costs, ns), append(ratios, ns/floor)
	}
	slices.Sort(costs)
	slices.Sort(ratios)
	b.ReportMetric(0, "ns/op") // of a test run with all its packets, which says nothing
	b.ReportMetric(costs[len(costs)/2], "ns/packet")
	b.ReportMetric(ratios[len(ratios)/2], "x-floor")
}

// connect sets up a listener and a connection to it from benchPort.
func connect(b *testing.B, service Service, from netip.Addr) {
	listen := net.ListenConfig{}
	listen.SetMultipathTCP(false)
	l, err := listen.Listen(context.Background(), "tcp", netip.AddrPortFrom(service.Address, 25).String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	dial := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice(), Port: benchPort}}
	conn, err := dial.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
}

// list adds the case's prefixes to the block list.
func (c benchCase) list(b *testing.B, s *Shield) {
	d := dice{rand.New(rand.NewPCG(1, 2))}
	for range c.listing {
		a := netip.AddrFrom4([4]byte(append([]byte{100}, d.bytes(3)...)))
		if err := s.Block(netip.PrefixFrom(a, 32), time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
	if c.want == Blocked {
		for _, p := range []string{"203.0.113.0/24", "2001:db8:9::/48"} {
			if err := s.Block(netip.MustParsePrefix(p), time.Time{}); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func TestWriterRestoresTheFrame(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: three, Cookies: Always})
	f := synTo(mail4)
	f.options = linux
	count := watch(t, s)
	const times = 100
	if _, err := writer(t, f.bytes(), s.shield).Run(&ebpf.RunOptions{Data: f.bytes(), Repeat: times}); err != nil {
		t.Fatal(err)
	}
	now := count.read(t)
	if n := now[SYNAnswered].Packets - count.last[SYNAnswered].Packets; n < times {
		t.Errorf("%d of %d SYNs were answered: %s", n, times, fmt.Sprint(now))
	}
}
