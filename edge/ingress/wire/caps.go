package wire

import (
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
)

// lengths4 and lengths6 are the lengths of the networks that a client is counted in, from the narrowest
// to the widest. One /48 has 65,536 of the /64s that a single host may have.
var (
	lengths4 = []int{24, 16}
	lengths6 = []int{64, 56, 48, 32}
)

func lengthsOf(addr netip.Addr) []int {
	if addr.Is4() {
		return lengths4
	}
	return lengths6
}

// networkOf returns the network of a length that addr is in.
func networkOf(addr netip.Addr, bits int) netip.Prefix {
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// capOf returns how many connections a network may have: MaxPerPrefix for the narrowest, MaxShare of
// all for the widest, and for those between half of the next wider one. 0: no limit.
func (l *Limits) capOf(bits int) int {
	if bits == lengths4[0] || bits == lengths6[0] {
		return l.MaxPerPrefix
	}
	if l.MaxConnections <= 0 || l.MaxShare <= 0 {
		return 0
	}
	most := l.MaxConnections * l.MaxShare / 100
	switch bits {
	case 48:
		most /= 2
	case 56:
		most /= 4
	}
	return max(most, l.MaxPerPrefix, 1)
}

// unreserved returns how many connections may be open for a client of whom nothing is known. 0: no limit.
func (l *Limits) unreserved() int {
	if l.MaxConnections <= 0 {
		return 0
	}
	return max(1, l.MaxConnections-l.MaxConnections*l.Reserved/100)
}

// caps counts the open connections, in all and by the networks that they come from. The zero value is
// ready.
type caps struct {
	mu      sync.Mutex
	total   int
	by      map[netip.Prefix]int
	crowded atomic.Bool // without mu: it is asked before each wait
	known   known
}

// enter counts one more connection in all, unless there is no room for it. known says that its client's
// network has delivered before.
func (c *caps) enter(l *Limits, known bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	most := l.unreserved()
	if known {
		most = l.MaxConnections
	}
	if most > 0 && c.total >= most {
		return false
	}
	c.count(l, 1)
	return true
}

// enterOwn counts a connection of the node itself, for which there is always room.
func (c *caps) enterOwn(l *Limits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(l, 1)
}

// count changes the total. The table is crowded from Crowded percent on, until it is an eighth emptier.
func (c *caps) count(l *Limits, n int) {
	c.total += n
	begin := l.MaxConnections * l.Crowded / 100
	switch {
	case begin <= 0:
		c.crowded.Store(false)
	case c.total >= begin:
		c.crowded.Store(true)
	case c.total < begin-begin/8:
		c.crowded.Store(false)
	}
}

// join counts a connection that has entered for its client's networks, unless one of them is full. It
// returns the length of that one, and 0 if there is room in all.
func (c *caps) join(addr netip.Addr, l *Limits) (full int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lengths := lengthsOf(addr)
	for _, bits := range lengths {
		if most := l.capOf(bits); most > 0 && c.by[networkOf(addr, bits)] >= most {
			return bits
		}
	}
	if c.by == nil {
		c.by = make(map[netip.Prefix]int)
	}
	for _, bits := range lengths {
		c.by[networkOf(addr, bits)]++
	}
	return 0
}

// leave undoes enter, and join if joined.
func (c *caps) leave(addr netip.Addr, joined bool, l *Limits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(l, -1)
	if !joined {
		return
	}
	for _, bits := range lengthsOf(addr) {
		p := networkOf(addr, bits)
		if c.by[p]--; c.by[p] <= 0 {
			delete(c.by, p)
		}
	}
}

func (c *caps) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}

// weights returns how many connections each network of addr has, from the widest to the narrowest.
func (c *caps) weights(addr netip.Addr) (w [4]int) {
	lengths := lengthsOf(addr)
	for i, bits := range lengths {
		w[len(lengths)-1-i] = c.by[networkOf(addr, bits)]
	}
	return w
}

// reasonFull is the label of a refusal by a full network: "/48".
func reasonFull(bits int) string { return "/" + strconv.Itoa(bits) }
