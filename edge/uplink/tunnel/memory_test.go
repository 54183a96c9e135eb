package tunnel

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// resident returns the memory of a process in use, in KiB.
func (p *process) resident() int {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		p.t.Fatal(err)
	}
	return kib
}

// TestMemory floods a tunnel that has no session, and fills one that has: the memory of
// wireguard-go must stay bounded, since it sets no bound of its own.
func TestMemory(t *testing.T) {
	const bound = 512 << 10 // KiB, needed under the race detector; without it a third is used
	p := newPair(t)
	child := p.a.start(p.sa, 0) // B does not run yet
	for _, a := range p.sa.Addresses {
		p.a.address("wg-core", a.String())
	}
	idle := child.resident()

	var flood net.Conn
	p.a.do(func() (err error) { flood, err = net.Dial("udp", "10.77.0.2:9"); return err })
	defer flood.Close()
	packet := make([]byte, 1400)
	for range 50_000 {
		_, _ = flood.Write(packet) // the test wants full queues
	}
	down := child.resident()

	p.b.open(Options{}, p.sb)
	s := p.b.serve("10.77.0.2:2525", echo)
	p.a.passes(s.address, 64<<20)
	loaded := child.resident()
	t.Logf("resident: %d KiB idle, %d after 50,000 packets without a session, %d after 64 MiB each way", idle, down, loaded)
	if down > bound || loaded > bound {
		t.Errorf("more than %d KiB are resident", bound)
	}
}

// BenchmarkTunnel sends through a tunnel whose two ends are in this process.
func BenchmarkTunnel(b *testing.B) {
	p := newPair(b)
	p.b.open(Options{}, p.sb)
	p.a.open(Options{}, p.sa)
	s := p.b.serve("10.77.0.2:2525", func(c *net.TCPConn) {
		buffer := make([]byte, 1<<16)
		for {
			if _, err := c.Read(buffer); err != nil {
				return
			}
		}
	})
	c, err := p.a.dial(s.address, patient)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	chunk := make([]byte, 1<<20)
	b.SetBytes(int64(len(chunk)))
	for b.Loop() {
		if _, err := c.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
}
