package xdp

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// flooder returns a program that sends a SYN out of a device, with varying ports and sequence
// numbers. Both halves of a random number keep the checksum constant. It writes the whole frame
// each time, because it gets back frames that the far end has changed.
func flooder(t testing.TB, frame []byte, index int) *ebpf.Program {
	const port, low = 34, 40 // offsets of the source port and of the sequence number's lower half
	code := asm.Instructions{
		asm.LoadMem(asm.R4, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, 4, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R4),
		asm.Add.Imm(asm.R2, int32(len(frame))),
		asm.JGT.Reg(asm.R2, asm.R3, "end"),
	}
	code = append(code, stores(frame)...)
	code = append(code,
		asm.Mov.Reg(asm.R6, asm.R4),
		asm.FnGetPrandomU32.Call(),
		asm.StoreMem(asm.R6, port, asm.R0, asm.Half),
		asm.Xor.Imm(asm.R0, -1),
		asm.StoreMem(asm.R6, low, asm.R0, asm.Half),
		asm.Mov.Imm(asm.R1, int32(index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("end"),
		asm.Return(),
	)
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: code})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// returns returns an XDP program with the same action for every frame.
func returns(t testing.TB, action int32) *ebpf.Program {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, AttachType: ebpf.AttachXDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, action), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// BenchmarkFloodedSYN measures the CPU time of a SYN that floods a listener over a cable: answered
// by the shield, and by the stack's own cookies. It subtracts the cost of sending and of the cable,
// measured with a program that drops the frame.
func BenchmarkFloodedSYN(b *testing.B) {
	l := newLab(b, Options{}, Settings{Services: three, Cookies: Always})
	n := l.nodes[0]
	f := forged(mail4, 0)
	f.seq = f.seq&^0xffff | 0xffff
	bytes := f.bytes()
	copy(bytes, n.mac)
	copy(bytes[6:], n.peer)
	hook := n.shield.hooks[shieldOn+n.device]
	drop, pass := returns(b, xdpDrop), returns(b, xdpPass)
	n.do(b, func() { sysctl(b, "ipv4/tcp_syncookies", "2") })
	l.client.do(b, func() {
		dev, err := netlink.LinkByName(n.cable)
		if err != nil {
			b.Fatal(err)
		}
		swap(b, n.far, drop) // replies are dropped here
		flood := flooder(b, bytes, dev.Attrs().Index)
		measure := func(p *ebpf.Program) float64 {
			swap(b, hook, p)
			begin := cpuTime(b)
			if _, err := flood.Run(&ebpf.RunOptions{Data: bytes, Repeat: repeats, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES}); err != nil {
				b.Fatal(err)
			}
			return float64(cpuTime(b) - begin)
		}
		answered := func() (byShield, byStack float64) {
			n.do(b, func() { byStack = float64(cookiesSent(b)) })
			return float64(watch(b, n.shield).last[SYNAnswered].Packets), byStack
		}
		var shields, stacks, ratios []float64
		for b.Loop() {
			// The stack is so slow that a kernel thread takes over some packets, which are not
			// measured, and others are lost: this makes it look cheaper than it is.
			byShield, byStack := answered()
			floor, shield, stack := measure(drop), measure(n.shield.shield), measure(pass)
			afterShield, afterStack := answered()
			if afterShield-byShield < repeats/2 || afterStack-byStack < repeats/4 {
				b.Fatalf("of %d SYNs %g were answered by the shield, and %g by the stack", repeats, afterShield-byShield, afterStack-byStack)
			}
			shield = (shield - floor) / (afterShield - byShield)
			stack = (stack - floor) / (afterStack - byStack)
			shields, stacks, ratios = append(shields, shield), append(stacks, stack), append(ratios, stack/shield)
		}
		for _, all := range [][]float64{shields, stacks, ratios} {
			slices.Sort(all)
		}
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(shields[len(shields)/2], "shield-ns/SYN")
		b.ReportMetric(stacks[len(stacks)/2], "stack-ns/SYN")
		b.ReportMetric(ratios[len(ratios)/2], "x-cheaper")
	})
}

func swap(t testing.TB, l link.Link, p *ebpf.Program) {
	t.Helper()
	if err := l.Update(p); err != nil {
		t.Fatal(err)
	}
}

// cookiesSent returns how many cookies the stack of this thread's network has sent.
func cookiesSent(t testing.TB) (n uint64) {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n") // one with names, one with values
	names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
	if n, err = strconv.ParseUint(values[slices.Index(names, "SyncookiesSent")], 10, 64); err != nil {
		t.Fatal(err)
	}
	return n
}
