package core

import (
	"strings"
	"testing"
)

func TestXforward(t *testing.T) {
	tests := []struct {
		arg  string
		want xforward // if ok
		ok   bool
	}{
		{"IDENT=x NAME=a ADDR=b HELO=c PORT=1 PROTO=ESMTP SOURCE=LOCAL", xforward{"x", "a", "b", "c"}, true},
		{"  ident=x\t name=a  ", xforward{ident: "x", name: "a"}, true},
		{"IDENT=a=b", xforward{ident: "a=b"}, true}, // not xtext, but unambiguous
		{"IDENT=+41+2b+2B", xforward{ident: "A++"}, true},
		{"HELO=a+20b", xforward{helo: "a b"}, true},
		{"HELO=+C3+BC", xforward{helo: "ü"}, true},
		{"HELO=+ff", xforward{helo: "\xff"}, true},
		{"NAME=[unavailable] ADDR=[TEMPUNAVAIL]", xforward{}, true},
		{"IDENT=", xforward{}, true},
		{"IDENT=" + strings.Repeat("+41", 255), xforward{ident: strings.Repeat("A", 255)}, true},
		{"IDENT=" + strings.Repeat("A", 256), xforward{}, false},
		{"", xforward{}, false},
		{"IDENT", xforward{}, false},
		{"=x", xforward{}, false},
		{"LOGIN=x", xforward{}, false},
		{"IDENT=+", xforward{}, false},
		{"IDENT=+4", xforward{}, false},
		{"IDENT=+4G", xforward{}, false},
		{"IDENT=+0A", xforward{}, false},
		{"IDENT=+7F", xforward{}, false},
		{"IDENT=ü", xforward{}, false},
		{"IDENT=\x01", xforward{}, false},
	}
	for _, tt := range tests {
		var x xforward
		if err := x.set(tt.arg); (err == nil) != tt.ok || x != tt.want {
			t.Errorf("%q: %+v, %v", tt.arg, x, err)
		}
	}
}

// TestXforwardAllOrNone: a refused command changes nothing.
func TestXforwardAllOrNone(t *testing.T) {
	x := xforward{ident: "old", helo: "old"}
	before := x
	if x.set("IDENT=new HELO=new ADDR=+") == nil || x != before {
		t.Errorf("%+v", x)
	}
}

func FuzzXforward(f *testing.F) {
	for _, seed := range []string{
		"IDENT=06fwjm7e0r002pzg.ams1", "NAME=a ADDR=[UNAVAILABLE] PORT=1 PROTO=ESMTP HELO=+20 SOURCE=REMOTE",
		"IDENT=+2B IDENT=", "=", "NAME", "NAME=+0d+0a", "name=" + strings.Repeat("x", 300),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		x := xforward{ident: "i", name: "n", addr: "a", helo: "h"}
		before := x
		if x.set(arg) != nil && x != before {
			t.Fatalf("refused, but %+v", x)
		}
		for _, value := range []string{x.ident, x.name, x.addr, x.helo} {
			if len(value) > maxAttribute || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Fatalf("%q", value)
			}
		}
		if who, ok := parseIdentity(x.ident); ok {
			if strings.ContainsAny(who.String(), "/\x00 :") || who.String() != x.ident {
				t.Fatalf("%q", who)
			}
		}
	})
}
