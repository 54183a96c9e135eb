// Package own distinguishes the node's own connections to its listeners from those of clients: the
// self-test of the node, and the speaker's probes of the service addresses. Both are known by
// addresses that no other host can connect from, so no word in SMTP makes a connection one of them.
package own

import (
	"crypto/rand"
	"crypto/subtle"
	"net/netip"
	"slices"
	"sync"

	"anymx/edge/mail"
)

// Kind is the owner of a connection.
type Kind int

// Kinds of connections.
const (
	Client   Kind = iota // not ours
	SelfTest             // from an address and port that Expect was given
	Probe                // from a service address to itself
)

// Connections knows the node's own connections. A nil one knows none.
type Connections struct {
	mu       sync.Mutex
	expected map[netip.AddrPort]*Test
	probed   []netip.Addr
}

// Kind returns whose connection comes from client to service.
func (c *Connections) Kind(client, service netip.AddrPort) Kind {
	if c == nil {
		return Client
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.expected[client] != nil:
		return SelfTest
	case client.Addr() == service.Addr() && slices.Contains(c.probed, service.Addr()):
		return Probe
	}
	return Client
}

// Probed sets the addresses that the speaker probes. A probe comes from the address that it goes to.
func (c *Connections) Probed(addresses []netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.probed = slices.Clone(addresses)
}

// Expect makes the connection from that address and port a self-test. The caller has bound it, and
// will connect from there, so no other socket of any host can use it. The test must be closed.
func (c *Connections) Expect(from netip.AddrPort) *Test {
	t := &Test{token: rand.Text(), stored: make(chan Stored, 1), connections: c, from: from}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expected == nil {
		c.expected = make(map[netip.AddrPort]*Test)
	}
	c.expected[from] = t
	return t
}

// Test returns the self-test that comes from client; nil if none does.
func (c *Connections) Test(client netip.AddrPort) *Test {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.expected[client]
}

// Domain is the domain of the recipients of self-tests: no host has a name in .invalid (RFC 2606
// section 2, RFC 6761 section 6.4).
const Domain = "proof.invalid"

// Test is a message that the node sends itself through one of its listeners, to see that it takes
// and stores mail. Two things make a message one: where its connection comes from, and its
// recipient, a token that was drawn for it and is known nowhere else.
type Test struct {
	token       string
	stored      chan Stored // one slot
	connections *Connections
	from        netip.AddrPort
}

// Stored is a message as it was read back from the spool.
type Stored struct {
	Envelope *mail.Envelope
	Text     []byte // with the trace field in front
	Err      error  // why it could not be stored, or not be read back; the rest is zero then
}

// Recipient returns the recipient of the message.
func (t *Test) Recipient() mail.Path { return mail.Path{Local: t.token, Domain: Domain} }

// IsFor reports whether to is the recipient, in constant time.
func (t *Test) IsFor(to mail.Path) bool {
	token := subtle.ConstantTimeCompare([]byte(to.Local), []byte(t.token))
	return token == 1 && to.Domain == Domain
}

// Stored receives the message as it was read back, before the server answers. By then it is removed
// from the spool.
func (t *Test) Stored() <-chan Stored { return t.stored }

// Deliver hands s to the receiver of Stored.
func (t *Test) Deliver(s Stored) {
	select {
	case t.stored <- s:
	default: // a second message, which the self-test does not send
	}
}

// Close forgets the test.
func (t *Test) Close() {
	t.connections.mu.Lock()
	defer t.connections.mu.Unlock()
	delete(t.connections.expected, t.from)
}
