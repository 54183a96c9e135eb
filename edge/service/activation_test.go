package service

import (
	"net"
	"slices"
	"testing"
)

// socket is a listener with only an address.
type socket struct {
	net.Listener
	address string
}

func (s *socket) Addr() net.Addr  { return s }
func (s *socket) Network() string { return "tcp" }
func (s *socket) String() string  { return s.address }

func TestShare(t *testing.T) {
	for name, test := range map[string]struct {
		sockets, want          []string
		passed, missing, spare []string
	}{
		"all":           {sockets: []string{"[::]:25", "[::]:8025"}, want: []string{"[::]:8025", "[::]:25"}, passed: []string{"[::]:8025", "[::]:25"}},
		"none":          {want: []string{"[::]:25"}, missing: []string{"[::]:25"}},
		"short":         {sockets: []string{"[::]:25"}, want: []string{":25"}, passed: []string{"[::]:25"}},
		"mapped":        {sockets: []string{"[::ffff:192.0.2.1]:25"}, want: []string{"192.0.2.1:25"}, passed: []string{"[::ffff:192.0.2.1]:25"}},
		"more":          {sockets: []string{"[::]:25"}, want: []string{"[::]:25", "[::]:587"}, passed: []string{"[::]:25"}, missing: []string{"[::]:587"}},
		"fewer":         {sockets: []string{"[::]:25", "[::]:8025"}, want: []string{"[::]:25"}, passed: []string{"[::]:25"}, spare: []string{"[::]:8025"}},
		"one address":   {sockets: []string{"[::]:25"}, want: []string{"192.0.2.1:25"}, missing: []string{"192.0.2.1:25"}, spare: []string{"[::]:25"}},
		"one socket":    {sockets: []string{"[::]:25"}, want: []string{"[::]:25", ":25"}, passed: []string{"[::]:25"}, missing: []string{":25"}},
		"any port":      {sockets: []string{"127.0.0.1:4711"}, want: []string{"127.0.0.1:0"}, passed: []string{"127.0.0.1:4711"}},
		"no TCP socket": {sockets: []string{""}, want: []string{"mx:25"}, missing: []string{"mx:25"}, spare: []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			var sockets []net.Listener
			for _, address := range test.sockets {
				sockets = append(sockets, &socket{address: address})
			}
			passed, missing, spare := share(sockets, test.want)
			if !slices.Equal(addresses(passed), test.passed) || !slices.Equal(missing, test.missing) || !slices.Equal(addresses(spare), test.spare) {
				t.Errorf("passed %q, missing %q, spare %q", addresses(passed), missing, addresses(spare))
			}
		})
	}
}

func addresses(list []net.Listener) []string {
	var all []string
	for _, l := range list {
		all = append(all, l.Addr().String())
	}
	return all
}
