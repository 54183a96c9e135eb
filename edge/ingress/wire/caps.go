package wire

import (
	"net/netip"
	"sync"
)

// caps counts the open connections, in all and by the prefix that they come
// from. The zero value is ready.
type caps struct {
	mu    sync.Mutex
	total int
	by    map[netip.Prefix]int
}

// prefixOf is the /24 or /64 that addr is counted in.
func prefixOf(addr netip.Addr) netip.Prefix {
	bits := 64
	if addr.Is4() {
		bits = 24
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// enter counts one more connection, unless max are open. 0 is no limit.
func (c *caps) enter(max int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if max > 0 && c.total >= max {
		return false
	}
	c.total++
	return true
}

// join counts a connection that entered for its client's prefix.
func (c *caps) join(p netip.Prefix, max int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if max > 0 && c.by[p] >= max {
		return false
	}
	if c.by == nil {
		c.by = make(map[netip.Prefix]int)
	}
	c.by[p]++
	return true
}

// leave undoes enter, and join if joined.
func (c *caps) leave(p netip.Prefix, joined bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if !joined {
		return
	}
	if c.by[p]--; c.by[p] <= 0 {
		delete(c.by, p)
	}
}

func (c *caps) open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total
}
