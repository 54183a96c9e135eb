package core

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"anymx/edge/mail"
)

func TestComponent(t *testing.T) {
	long := strings.Repeat("a", maxComponent)
	tests := []struct{ in, want string }{
		{"b", "b"},
		{"B.C", "b.c"},
		{"DÖMI", "dömi"},
		{"..", "%2e."},
		{".", "%2e"},
		{"...", "%2e.."},
		{".incoming", "%2eincoming"},
		{"../", "%2e.%2f"},
		{"/etc/passwd", "%2fetc%2fpasswd"},
		{`a\b`, "a%5cb"},
		{"%2e", "%252e"},
		{"a\x00b\r\n\x7f", "a%00b%0d%0a%7f"},
		{"a\xffb", "a%ffb"},
		{"\ufffd", "\ufffd"},
		{"\u212aarl", "\u212aarl"}, // the Kelvin sign is not a k
		{"\u0130", "\u0130"},
		{long, long},
		{long + "a", strings.Repeat("a", maxComponent-18) + "%-" + "2e3155d99ae6b7d3"},
	}
	for _, tt := range tests {
		got := component(tt.in)
		if strings.Contains(tt.want, "%-") {
			got = got[:maxComponent-16] + tt.want[maxComponent-16:] // the sum is checked below
		}
		if got != tt.want {
			t.Errorf("%q gives %q, want %q", tt.in, got, tt.want)
		}
	}
	// Parts that only differ beyond the longest name stay distinct.
	if a, b := component(long+"a"), component(long+"b"); a == b || len(a) != maxComponent || len(b) != maxComponent {
		t.Errorf("%q and %q", a, b)
	}
	for i := range 4 { // wherever the cut falls in a rune
		if name := component(strings.Repeat("x", i) + strings.Repeat("€", maxComponent)); !utf8.ValidString(name) || len(name) > maxComponent {
			t.Errorf("%q, %d bytes", name, len(name))
		}
	}
}

func TestMailboxOf(t *testing.T) {
	same := [][]mail.Path{
		{{Local: "b", Domain: "example.net"}, {Local: "B", Domain: "EXAMPLE.net"}},
		{{Local: "b", Domain: "bücher.example"}, {Local: "b", Domain: "xn--bcher-kva.example"}, {Local: "b", Domain: "BÜCHER.example"}},
		{{Local: "b", Domain: "[IPv6:2001:DB8::1]"}, {Local: "b", Domain: "[ipv6:2001:db8::1]"}},
	}
	seen := map[string]int{}
	for i, group := range same {
		for _, p := range group {
			box := mailboxOf(p)
			if j, ok := seen[box]; ok && j != i {
				t.Errorf("%v shares %q with group %d", p, box, j)
			}
			seen[box] = i
		}
		if len(seen) != i+1 {
			t.Errorf("group %d has not one mailbox: %v", i, seen)
		}
	}
}

// FuzzComponent: a component is a single directory name, and differs for parts that differ in more
// than case.
func FuzzComponent(f *testing.F) {
	long := strings.Repeat("a", 300)
	for _, seed := range [][2]string{
		{"a", "A"}, {"..", "%2e."}, {"a/b", "a%2fb"}, {"", "."}, {"a\x00", "a%00"}, {long, long + "b"},
		{"\u212a", "k"}, {"\u017f", "s"}, {"\xff", "\xfe"}, {"\ufffd", "\xff"}, {long[:182] + "%-", long}, {"ſ", "S"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		x, y := component(a), component(b)
		for _, name := range []string{x, y} {
			if name == "" || len(name) > maxComponent || name[0] == '.' || strings.ContainsAny(name, "/\x00\n\\") || filepath.Join("d", name) != "d/"+name {
				t.Fatalf("bad name %q", name)
			}
		}
		if x != component(a) {
			t.Fatal("not always the same")
		}
		if x == y && !strings.EqualFold(a, b) {
			t.Fatalf("%q and %q are both %q", a, b, x)
		}
		if ascii(a) && ascii(b) && (x == y) != strings.EqualFold(a, b) {
			t.Fatalf("%q is %q, %q is %q", a, x, b, y)
		}
	})
}

func ascii(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
