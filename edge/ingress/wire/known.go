package wire

import (
	"net/netip"
	"time"
)

// Limits of what is known of networks.
const (
	maxKnown = 64 << 10            // networks
	knownFor = 30 * 24 * time.Hour // after the last message, at least half of it
)

// known are the networks, /24 and /64, that have delivered a message. It has two halves: what is added
// goes into the newer one, and when that is full or old it takes the place of the older one, which is
// forgotten. The zero value knows nobody.
type known struct {
	newer, older map[netip.Prefix]struct{}
	began        time.Time // of newer
}

func (k *known) add(network netip.Prefix, now time.Time) {
	k.turn(now)
	if k.newer == nil {
		k.newer, k.began = make(map[netip.Prefix]struct{}), now
	}
	k.newer[network] = struct{}{}
}

func (k *known) has(network netip.Prefix, now time.Time) bool {
	k.turn(now)
	if _, ok := k.newer[network]; ok {
		return true
	}
	_, ok := k.older[network]
	return ok
}

// turn makes a new half where the newer one is full or old.
func (k *known) turn(now time.Time) {
	switch old := now.Sub(k.began); {
	case k.newer == nil:
	case old >= knownFor:
		k.newer, k.older = nil, nil
	case old >= knownFor/2, len(k.newer) >= maxKnown/2:
		k.newer, k.older, k.began = make(map[netip.Prefix]struct{}), k.newer, now
	}
}

// isKnown reports whether a message came from the network of addr.
func (c *caps) isKnown(addr netip.Addr, now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known.has(networkOf(addr, lengthsOf(addr)[0]), now)
}

func (c *caps) delivered(addr netip.Addr, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.add(networkOf(addr, lengthsOf(addr)[0]), now)
}

// Delivered says that a message of the client was accepted: its network has a place among those that are
// reserved from now on.
func (c *Conn) Delivered() {
	if addr := c.peer.client.Addr(); addr.IsValid() && !c.peer.own {
		c.registry.caps.delivered(addr, time.Now())
	}
}
