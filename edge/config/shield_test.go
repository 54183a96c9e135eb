package config

import (
	"fmt"
	"net/netip"
	"testing"
)

// The filter has room for 256 service addresses of each IP version, and the error names the first
// one beyond, once.
func TestShieldAddresses(t *testing.T) {
	c, err := Load("testdata/good/design.toml")
	if err != nil {
		t.Fatal(err)
	}
	service := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2 + byte(i>>8), byte(i)}), 32)
	}
	c.Anycast = Anycast{Prefixes: prefixes("192.0.0.0/16", "2001:db8:25::/48"), Addresses: prefixes("2001:db8:25::25/128")}
	for i := range 256 {
		c.Anycast.Addresses = append(c.Anycast.Addresses, service(i))
	}
	if err := c.Validate(); err != nil {
		t.Fatalf("256 and one: %v", err)
	}
	c.Anycast.Addresses = append(c.Anycast.Addresses, service(256), service(257))
	want := "anycast.addresses[257]: the shield has room for 256 IPv4 addresses"
	if got := fmt.Sprint(c.Validate()); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c.Shield = nil
	if err := c.Validate(); err != nil {
		t.Errorf("without a shield: %v", err)
	}
}
