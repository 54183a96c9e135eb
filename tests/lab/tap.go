package lab

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// Tap is an XDP program at the router's end of a node's link. It counts and drops what the node
// sends to forged sources. A veth needs a program there anyway, or its peer can't send from XDP. It
// stays attached when this process ends.
type Tap struct{ counts *ebpf.Map }

// Returned counts what a node sent to forged sources.
type Returned struct {
	Resets, SYNACKs, Other uint64 // TCP segments
}

const (
	xdpDrop = 1
	xdpPass = 2
)

// tap attaches a tap to a device.
func (n *Namespace) tap(device string) (*Tap, error) {
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 3})
	if err != nil {
		return nil, fmt.Errorf("tap: %w", err)
	}
	if err := n.hang(device, tapCode(counts.FD())); err != nil {
		return nil, errors.Join(err, counts.Close())
	}
	return &Tap{counts: counts}, nil
}

// Returned reads the counts.
func (t *Tap) Returned() (r Returned, err error) {
	for i, into := range []*uint64{&r.Resets, &r.SYNACKs, &r.Other} {
		err = errors.Join(err, t.counts.Lookup(uint32(i), into))
	}
	return r, err
}

// tapCode returns the program. Replies have neither IP options nor extension headers.
func tapCode(counts int) asm.Instructions {
	load := func(at int, size asm.Size) asm.Instruction { return asm.LoadMem(asm.R0, asm.R6, int16(at), size) }
	atLeast := func(size int) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Reg(asm.R2, asm.R6), asm.Add.Imm(asm.R2, int32(size)), asm.JGT.Reg(asm.R2, asm.R7, "pass"),
		}
	}
	const tcp4, tcp6 = ethernetSize + ipv4Size, ethernetSize + ipv6Size
	code := asm.Instructions{
		asm.LoadMem(asm.R6, asm.R1, 0, asm.Word),
		asm.LoadMem(asm.R7, asm.R1, 4, asm.Word),
	}
	code = append(code, atLeast(tcp4+tcpSize)...)
	code = append(code,
		load(12, asm.Half),
		asm.HostTo(asm.BE, asm.R0, asm.Half),
		asm.JEq.Imm(asm.R0, unix.ETH_P_IPV6, "ipv6"),
		asm.JNE.Imm(asm.R0, unix.ETH_P_IP, "pass"),
		load(ethernetSize+16, asm.Byte),
		asm.And.Imm(asm.R0, 0xf0),
		asm.JNE.Imm(asm.R0, int32(Forged4.Addr().As4()[0]), "pass"),
		load(ethernetSize+9, asm.Byte),
		asm.JNE.Imm(asm.R0, unix.IPPROTO_TCP, "drop"),
		load(tcp4+13, asm.Byte),
		asm.Ja.Label("count"),
	)
	six := atLeast(tcp6 + tcpSize)
	six[0] = six[0].WithSymbol("ipv6")
	code = append(code, six...)
	code = append(code,
		load(ethernetSize+24, asm.Half),
		asm.HostTo(asm.BE, asm.R0, asm.Half),
		asm.JNE.Imm(asm.R0, 0x3fff, "pass"),
		load(ethernetSize+6, asm.Byte),
		asm.JNE.Imm(asm.R0, unix.IPPROTO_TCP, "drop"),
		load(tcp6+13, asm.Byte),
		asm.Mov.Imm(asm.R1, 2).WithSymbol("count"), // R1: the kind of reply
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.And.Imm(asm.R2, SYN|ACK),
		asm.JNE.Imm(asm.R2, SYN|ACK, "reset"),
		asm.Mov.Imm(asm.R1, 1),
		asm.And.Imm(asm.R0, RST).WithSymbol("reset"),
		asm.JEq.Imm(asm.R0, 0, "add"),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, -4, asm.R1, asm.Word).WithSymbol("add"),
		asm.LoadMapPtr(asm.R1, counts),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, xdpDrop).WithSymbol("drop"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	)
	return code
}

// hang loads an XDP program and attaches it to a device, in the driver, where it stays as long as
// the device exists.
func (n *Namespace) hang(device string, code asm.Instructions) error {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL", Instructions: code})
	if err != nil {
		return fmt.Errorf("program for %s: %w", device, err)
	}
	defer p.Close() // the device keeps a reference
	return n.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err == nil {
			err = netlink.LinkSetXdpFdWithFlags(link, p.FD(), nl.XDP_FLAGS_DRV_MODE)
		}
		if err != nil {
			return fmt.Errorf("program on %s: %w", device, err)
		}
		return nil
	})
}

// void creates a link that drops everything sent on it, unless it exists.
func (n *Namespace) void(ctx context.Context) (device string, to net.HardwareAddr, err error) {
	const near, far = "void", "void-end"
	if to, err = n.hardware(far); err == nil {
		return near, to, nil
	}
	if err = n.IP(ctx, "link", "add", near, "type", "veth", "peer", "name", far); err != nil {
		return "", nil, err
	}
	for _, name := range []string{near, far} {
		if err := errors.Join(n.Sysctl("ipv6/conf/"+name+"/disable_ipv6", "1"), n.IP(ctx, "link", "set", name, "up")); err != nil {
			return "", nil, err
		}
	}
	if err := n.queue(near); err != nil {
		return "", nil, err
	}
	if err := n.hang(far, asm.Instructions{asm.Mov.Imm(asm.R0, xdpDrop), asm.Return()}); err != nil {
		return "", nil, err
	}
	to, err = n.hardware(far)
	return near, to, err
}

// queue gives a veth a queue like that of a network card: packets that don't fit into the peer's
// ring wait in it (since Linux 6.16). Without it, a flood's share of the link would depend on the
// scheduler, and the excess would be lost at random.
func (n *Namespace) queue(device string) error {
	return n.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err == nil {
			err = netlink.QdiscAdd(&netlink.GenericQdisc{QdiscType: "pfifo", QdiscAttrs: netlink.QdiscAttrs{
				LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)}})
		}
		if err != nil {
			return fmt.Errorf("queue of %s: %w", device, err)
		}
		return nil
	})
}

// wholeChecksums makes a veth send packets with complete checksums.
func (n *Namespace) wholeChecksums(device string) error {
	return n.Do(func() error { return kit.WholeChecksums(device) })
}
