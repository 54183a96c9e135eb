package xdp

import (
	"net/netip"
	"testing"
	"time"
)

// If the stack stops accepting cookies, the shield stops sending them: otherwise every client would
// be reset under pressure.
func TestFollowsTheStack(t *testing.T) {
	n := newNamespace(t)
	n.do(t, func() { sysctl(t, "ipv4/tcp_syncookies", "1") })
	var s *Shield
	n.do(t, func() { s = open(t, Options{}) })
	n.do(t, func() {
		if err := s.Configure(Settings{Services: []Service{{Address: netip.MustParseAddr("192.0.2.25"), Ports: []uint16{25}}}, Cookies: Always}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []struct {
			value   string
			cookies Cookies
		}{{"0", Never}, {"1", Always}} {
			sysctl(t, "ipv4/tcp_syncookies", want.value)
			if err := s.tick(time.Now()); err != nil {
				t.Fatal(err)
			}
			var table bpfSettings
			if err := s.maps.Settings.Lookup(first, &table); err != nil {
				t.Fatal(err)
			}
			if Cookies(table.Cookies) != want.cookies {
				t.Errorf("tcp_syncookies %s: cookies %d, want %d", want.value, table.Cookies, want.cookies)
			}
		}
	})
}
