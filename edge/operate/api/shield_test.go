package api

import (
	"net/netip"
	"slices"
	"testing"
)

// The entry that decides about an address comes first.
func TestListsHolding(t *testing.T) {
	var l ShieldLists
	for _, p := range []string{"2001:db8::/32", "192.0.2.0/25", "192.0.2.0/24", "0.0.0.0/1", "192.0.2.7/32", "128.0.0.0/1", "192.0.3.0/24"} {
		l.Entries = append(l.Entries, ShieldEntry{Prefix: netip.MustParsePrefix(p)})
	}
	texts := func(l ShieldLists) (list []string) {
		for _, e := range l.Entries {
			list = append(list, e.Prefix.String())
		}
		return list
	}
	for p, want := range map[string][]string{
		"192.0.2.7/32":    {"192.0.2.7/32", "192.0.2.0/25", "192.0.2.0/24", "128.0.0.0/1"},
		"192.0.2.0/24":    {"192.0.2.0/24", "128.0.0.0/1"},
		"10.0.0.1/32":     {"0.0.0.0/1"},
		"2001:db8:1::/48": {"2001:db8::/32"},
		"2001:db9::1/128": nil,
		"::ffff:0:0/96":   nil,
		"0.0.0.0/0":       nil,
	} {
		if got := texts(l.Holding(netip.MustParsePrefix(p))); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
	}
	l.Sort()
	want := []string{"0.0.0.0/1", "128.0.0.0/1", "192.0.2.0/25", "192.0.2.0/24", "192.0.2.7/32", "192.0.3.0/24", "2001:db8::/32"}
	if got := texts(l); !slices.Equal(got, want) {
		t.Errorf("sorted: %v, want %v", got, want)
	}
}
