package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The networks of forged sources. Nothing else in the lab has such an address, so that replies to
// them can be recognized: see Tap.
var (
	Forged4 = netip.MustParsePrefix("16.0.0.0/4")
	Forged6 = netip.MustParsePrefix("3fff::/20")
)

// Flood sends segments with random sources to the service addresses of a node, on its link to its
// router: alternately IPv4 and IPv6, to ports 25 and 8025.
type Flood struct {
	Flags byte          // SYN or ACK
	Rate  int           // packets per second; 0: as many as one thread can send
	Most  time.Duration // maximum duration; 0 means 10s
	// Void sends the same packets to a link that drops them all: the load on the machine is the
	// same, and the node gets nothing.
	Void bool
}

// Flooded is the result of a flood.
type Flooded struct {
	Packets int
	Lost    int // dropped by the link for lack of space
	Took    time.Duration
	CPU     time.Duration // of the sending thread, with what the kernel does in it
}

// Rate returns packets per second.
func (f Flooded) Rate() float64 { return float64(f.Packets) / max(f.Took, time.Nanosecond).Seconds() }

// Flooding is a running flood.
type Flooding struct {
	stop context.CancelFunc
	done chan struct{}
	sent Flooded
	err  error
}

// Flood starts a flood. It runs until Stop, at most for o.Most.
func (l *Lab) Flood(ctx context.Context, n *Node, o Flood) (*Flooding, error) {
	to, err := n.Namespace.hardware("eth0")
	if err != nil {
		return nil, err
	}
	return o.start(ctx, n.upstream, to, "pop-"+n.Role)
}

// FloodAgain floods PoP a of a run that no process holds, until ctx ends, at most for o.Most.
func FloodAgain(ctx context.Context, run string, o Flood) (Flooded, error) {
	if !There(run) {
		return Flooded{}, fmt.Errorf("there is no lab %s", run)
	}
	router, err := openNamespace(SpaceName(run, siteA.upstream))
	if err != nil {
		return Flooded{}, err
	}
	defer router.file.Close()
	node, err := openNamespace(SpaceName(run, siteA.role))
	if err != nil {
		return Flooded{}, err
	}
	defer node.file.Close()
	to, err := node.hardware("eth0")
	if err != nil {
		return Flooded{}, err
	}
	f, err := o.start(ctx, router, to, "pop-"+siteA.role)
	if err != nil {
		return Flooded{}, err
	}
	<-f.done
	return f.Stop()
}

// start starts a flood from a router's device to the hardware address at the other end of the link.
func (o Flood) start(ctx context.Context, space *Namespace, to net.HardwareAddr, device string) (*Flooding, error) {
	if o.Most == 0 {
		o.Most = 10 * time.Second
	}
	if o.Void {
		var err error
		if device, to, err = space.void(ctx); err != nil {
			return nil, err
		}
	}
	from, err := space.hardware(device)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Most)
	f := &Flooding{stop: cancel, done: make(chan struct{})}
	bed := newBed(o.Flags, to, from)
	began := make(chan error, 1)
	go func() {
		defer close(f.done)
		defer cancel()
		inside := false
		f.err = space.Do(func() error {
			fd, err := packetSocket(device, 0)
			inside = true
			if began <- err; err != nil {
				return err
			}
			defer unix.Close(fd)
			return f.send(ctx, fd, bed, o.Rate)
		})
		if !inside {
			began <- f.err
		}
	}()
	if err := <-began; err != nil {
		cancel()
		<-f.done
		return nil, fmt.Errorf("flood on %s of %s: %w", device, space.Name, err)
	}
	return f, nil
}

// Stop ends the flood, if it is still running.
func (f *Flooding) Stop() (Flooded, error) {
	f.stop()
	<-f.done
	return f.sent, f.err
}

// send sends until ctx ends. It needs a thread of its own.
func (f *Flooding) send(ctx context.Context, fd int, b *bed, rate int) error {
	began, cpu := time.Now(), threadTime()
	defer func() { f.sent.Took, f.sent.CPU = time.Since(began), threadTime()-cpu }()
	for ctx.Err() == nil {
		n := batch
		if rate > 0 {
			due := int(time.Since(began).Seconds()*float64(rate)) - f.sent.Packets - f.sent.Lost
			if n = min(batch, due); n < batch/4 {
				// Shorter than Go's timers can wait.
				pause := unix.NsecToTimespec(int64(time.Second) / int64(rate) * batch / 2)
				_ = unix.Nanosleep(&pause, nil) // a signal only shortens it
				continue
			}
		}
		b.vary(n)
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[0])), uintptr(n), 0, 0, 0)
		runtime.KeepAlive(b)
		switch errno {
		case 0:
			f.sent.Packets += int(sent)
		case unix.ENOBUFS, unix.EAGAIN: // the link is full
			f.sent.Lost++
		case unix.EINTR:
		default:
			return fmt.Errorf("sendmmsg: %w", errno)
		}
	}
	return nil
}

// threadTime returns the CPU time of this thread.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // it can't fail for this clock
	return time.Duration(t.Nano())
}

const batch = 64 // frames per system call

// bed holds the frames of a batch. Each round gives them new sources, ports and sequence numbers,
// with correct checksums.
type bed struct {
	frames   [batch]seed
	vectors  [batch]unix.Iovec
	messages [batch]struct {
		header unix.Msghdr
		length uint32
		_      uint32
	}
	dice *rand.PCG
}

// seed is a frame and the checksums of its constant parts.
type seed struct {
	bytes   []byte
	tcp     int
	ip, sum uint32
	ack     bool
}

func newBed(flags byte, to, from net.HardwareAddr) *bed {
	b := &bed{dice: rand.NewPCG(rand.Uint64(), rand.Uint64())}
	for i := range b.frames {
		s := segment{toMAC: to, fromMAC: from, flags: flags}
		target, source := Service4, Forged4
		if i%2 == 1 {
			target, source = Service6, Forged6
		}
		s.to = netip.AddrPortFrom(netip.MustParseAddr(target), []uint16{25, 8025}[i/2%2])
		s.from = netip.AddrPortFrom(source.Addr(), 0)
		if flags == SYN {
			s.options = linux
		}
		f := seed{bytes: s.frame(), tcp: s.tcpAt(), ack: flags&ACK != 0}
		tcp := f.bytes[f.tcp:]
		f.sum = uint32(^binary.BigEndian.Uint16(tcp[16:]))
		f.ip = uint32(^binary.BigEndian.Uint16(f.bytes[checksum4:]))
		b.frames[i] = f
		b.vectors[i] = unix.Iovec{Base: &f.bytes[0], Len: uint64(len(f.bytes))}
		b.messages[i].header = unix.Msghdr{Iov: &b.vectors[i], Iovlen: 1}
	}
	return b
}

// vary gives the first n frames new values.
func (b *bed) vary(n int) {
	for i := range n {
		f := &b.frames[i]
		who, what := b.dice.Uint64(), b.dice.Uint64()
		ip, more := f.ip, f.sum
		if f.tcp == ethernetSize+ipv4Size {
			high, low := uint32(who)&0x0fff, uint32(who>>16)&0xffff
			ip, more = ip+high+low, more+high+low
			binary.BigEndian.PutUint16(f.bytes[source4:], uint16(Forged4.Addr().As4()[0])<<8|uint16(high))
			binary.BigEndian.PutUint16(f.bytes[source4+2:], uint16(low))
			binary.BigEndian.PutUint16(f.bytes[checksum4:], ^fold(ip))
		} else {
			net := uint32(who) // the network, with a second random number as the host part
			binary.BigEndian.PutUint32(f.bytes[source6+4:], net)
			binary.BigEndian.PutUint64(f.bytes[source6+8:], who)
			more += words(uint64(net)) + words(who)
		}
		tcp := f.bytes[f.tcp:]
		port := 1024 + uint32(who>>48)%64000
		seq := uint32(what)
		binary.BigEndian.PutUint16(tcp, uint16(port))
		binary.BigEndian.PutUint32(tcp[4:], seq)
		more += port + words(uint64(seq))
		if f.ack {
			ack := uint32(what >> 32)
			binary.BigEndian.PutUint32(tcp[8:], ack)
			more += words(uint64(ack))
		}
		binary.BigEndian.PutUint16(tcp[16:], ^fold(more))
	}
}

// words returns the sum of the 16-bit words of a number.
func words(n uint64) uint32 {
	return uint32(n&0xffff) + uint32(n>>16&0xffff) + uint32(n>>32&0xffff) + uint32(n>>48)
}

// packetSocket opens a socket that sends frames on a device of this thread's network and receives
// those of a protocol, given in network byte order; 0: none.
func packetSocket(device string, protocol uint16) (int, error) {
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return -1, fmt.Errorf("interface %s: %w", device, err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(protocol))
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: dev.Index}); err != nil {
		return -1, errors.Join(fmt.Errorf("packet socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// hardware returns the link-layer address of a device.
func (n *Namespace) hardware(device string) (mac net.HardwareAddr, err error) {
	err = n.Do(func() error {
		dev, err := net.InterfaceByName(device)
		if err == nil {
			mac = dev.HardwareAddr
		}
		return err
	})
	return mac, err
}
