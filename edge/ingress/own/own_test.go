package own

import (
	"net/netip"
	"testing"

	"anymx/edge/mail"
)

func TestKind(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort
	var c Connections
	c.Probed([]netip.Addr{netip.MustParseAddr("192.0.2.25"), netip.MustParseAddr("192.0.2.26")})
	test := c.Expect(at("127.0.0.1:4000"))
	for _, row := range []struct {
		client, service string
		want            Kind
	}{
		{"127.0.0.1:4000", "127.0.0.1:25", SelfTest},
		{"127.0.0.1:4001", "127.0.0.1:25", Client},
		{"127.0.0.2:4000", "127.0.0.1:25", Client},
		{"192.0.2.25:4000", "192.0.2.25:25", Probe},
		{"192.0.2.25:4000", "192.0.2.26:25", Client}, // both are served, but it goes elsewhere
		{"192.0.2.27:4000", "192.0.2.27:25", Client}, // not served
	} {
		if got := c.Kind(at(row.client), at(row.service)); got != row.want {
			t.Errorf("%s to %s: %d; want %d", row.client, row.service, got, row.want)
		}
	}
	if got := c.Test(at("127.0.0.1:4000")); got != test {
		t.Errorf("got %p, want %p", got, test)
	}
	test.Close()
	if got := c.Kind(at("127.0.0.1:4000"), at("127.0.0.1:25")); got != Client || c.Test(at("127.0.0.1:4000")) != nil {
		t.Errorf("after Close: %d", got)
	}
	c.Probed(nil)
	if got := c.Kind(at("192.0.2.25:4000"), at("192.0.2.25:25")); got != Client {
		t.Errorf("no longer probed: %d", got)
	}
	if got := (*Connections)(nil).Kind(at("192.0.2.25:4000"), at("192.0.2.25:25")); got != Client {
		t.Errorf("of none: %d", got)
	}
}

func TestRecipient(t *testing.T) {
	t.Parallel()
	var c Connections
	one, other := c.Expect(netip.MustParseAddrPort("127.0.0.1:1")), c.Expect(netip.MustParseAddrPort("127.0.0.1:2"))
	if !one.IsFor(one.Recipient()) || one.IsFor(other.Recipient()) || one.IsFor(mail.Path{Local: one.Recipient().Local, Domain: "example.net"}) {
		t.Error("a message passes for another test's, or not for its own")
	}
	one.Deliver(Stored{Text: []byte("first")})
	one.Deliver(Stored{Text: []byte("second")})
	if got := <-one.Stored(); string(got.Text) != "first" {
		t.Errorf("%q", got.Text)
	}
}
