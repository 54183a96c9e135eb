package policy

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseRecipients(t *testing.T) {
	tests := []struct {
		name, domain, text string
		has, hasNot        []string
		size               int
	}{
		{"local parts", "example.net", "alice\nbob\n", []string{"alice", "ALICE", "bob", "bob+x"}, []string{"", "eve", "alic", "alice@example.net"}, 2},
		{"addresses", "example.net", "alice@example.net\nbob@EXAMPLE.NET", []string{"alice", "bob"}, nil, 2},
		{"no newline at the end", "example.net", "alice", []string{"alice"}, nil, 1},
		{"CRLF", "example.net", "alice\r\nbob\r\n\r\n", []string{"alice", "bob"}, nil, 2},
		{"byte order mark", "example.net", "\ufeffalice\nbob", []string{"alice", "bob"}, nil, 2},
		{"white space", "example.net", "  alice\t\n\t bob \n \n", []string{"alice", "bob"}, nil, 2},
		{"comments", "example.net", "# people\nalice # in sales\n\t# more\nbob\t#\n", []string{"alice", "bob"}, []string{"#"}, 2},
		{"# is not a comment in an address", "example.net", "a#b\n#c#\nd#e@example.net # f\n", []string{"a#b", "d#e"}, []string{"a", "d", "c"}, 2},
		{"quoted", "example.net", "\"a b\"\n\"c #d\" # e\n\"f@g\"\n\"h\\\"#\"@example.net\n", []string{"a b", "c #d", "f@g", `h"#`}, []string{"a"}, 4},
		{"twice", "example.net", "alice\nAlice\nalice@example.net", []string{"alice"}, nil, 1},
		{"detail", "example.net", "alice+x\nbob", []string{"alice+x", "ALICE+X", "bob+alice", "bob+", "bob+a+b"}, []string{"alice", "alice+y", "+bob", "+"}, 2},
		{"UTF-8", "example.net", "Jörg\nДми\n", []string{"jörg", "JÖRG", "дМИ"}, []string{"jorg"}, 2},
		{"not what looks the same", "example.net", "karl\nivan\n", []string{"KARL"}, []string{"\u212aarl", "\u0130van", "karl\u200b"}, 2},
		{"wildcard", "*.example.net", "alice\nPostmaster", []string{"alice", "postmaster"}, []string{"bob"}, 2},
		{"bare postmaster", "example.net", "postmaster", []string{"POSTMASTER"}, nil, 1},
		{"IDN", "xn--bcher-kva.example", "a@bücher.example\nb@XN--bcher-kva.example\nc", []string{"a", "b", "c"}, nil, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := mustRecipients(t, tt.text, tt.domain)
			if r.Len() != tt.size {
				t.Errorf("%d recipients, want %d", r.Len(), tt.size)
			}
			for _, local := range tt.has {
				if !r.Has(local) {
					t.Errorf("%q is missing", local)
				}
			}
			for _, local := range tt.hasNot {
				if r.Has(local) {
					t.Errorf("%q is there", local)
				}
			}
		})
	}
}

func TestParseRecipientsErrors(t *testing.T) {
	tests := []struct {
		name, domain, text string
		want               []string // a line for each problem, each with this in it
	}{
		{"empty", "example.net", "", []string{`list:1: no recipients`}},
		{"comments only", "example.net", "# nobody\n\n", []string{`list:2: no recipients`}},
		{"other domain", "example.net", "alice\nbob@other.example\n", []string{`list:2: "other.example" is not example.net`}},
		{"subdomain", "example.net", "alice@sub.example.net", []string{`list:1: "sub.example.net" is not`}},
		{"wildcard", "*.example.net", "alice@sub.example.net\nbob@example.net\ncarol", []string{"list:1: an address in the list of *.example.net", "list:2: an address"}},
		{"malformed", "example.net", "a b\n@\na@\n@example.net\n\"a\nb\x00\n<a@example.net>\na,b\n", []string{"list:1: ", "list:2: ", "list:3: ", "list:4: ", "list:5: ", "list:6: ", "list:7: ", "list:8: "}},
		{"no UTF-8", "example.net", "J\xf6rg\n", []string{"list:1: "}},
		{"UTF-16", "example.net", "\xff\xfea\x00\n\x00", []string{"list:1: ", "list:2: "}},
		{"too long", "example.net", strings.Repeat("a", 200), []string{"list:1: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ParseRecipients("list", []byte(tt.text), tt.domain)
			if err == nil || r != nil {
				t.Fatalf("%v, %v", r, err)
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tt.want) {
				t.Fatalf("got %q, want %q", lines, tt.want)
			}
			for i, want := range tt.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("got %q, want %q", lines[i], want)
				}
			}
		})
	}
	_, err := ParseRecipients("list", []byte(strings.Repeat("a b\n", 1000)), "example.net")
	if n := strings.Count(err.Error(), "\n") + 1; n != maxProblems {
		t.Errorf("%d problems are reported", n)
	}
}

// TestManyRecipients checks that a big list is read completely, and that lookups don't allocate.
func TestManyRecipients(t *testing.T) {
	const many = 100_000
	var b strings.Builder
	for i := range many {
		fmt.Fprintf(&b, "user.%d@example.net\r\n", i)
	}
	r := mustRecipients(t, b.String(), "example.net")
	if r.Len() != many {
		t.Fatalf("%d recipients", r.Len())
	}
	for i := range many {
		if !r.Has(fmt.Sprintf("User.%d", i)) {
			t.Fatal(i)
		}
	}
	for local, most := range map[string]float64{"user.7": 0, "user.7+x": 0, "nobody": 0, "nobody+x": 0, "User.7": 1} {
		if n := testing.AllocsPerRun(100, func() { r.Has(local) }); n > most {
			t.Errorf("%s: %v allocations", local, n)
		}
	}
}

func TestAnyRecipients(t *testing.T) {
	var r *Recipients
	if !r.Has("x") || r.Len() != 0 {
		t.Error("nil is not any")
	}
}

// FuzzRecipients checks that an accepted list has the mailboxes that it names, in any case, and
// none of another domain, and that a refused one has a reason.
func FuzzRecipients(f *testing.F) {
	for _, seed := range []string{
		"alice\nbob@example.net\n", "# x\n\r\n", "\"a b\" # c\n", "a#b", "\ufeffa", "a@other.example", "j\xf6rg", "jörg\nДми",
		"\"", "\"\\\"\"@example.net", "postmaster", "@", "a+b\n+", "\u212a\n\u0130", "a\x00b",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, wild bool) {
		domain := "example.net"
		if wild {
			domain = "*.example.net"
		}
		r, err := ParseRecipients("list", data, domain)
		if (r == nil) != (err != nil) {
			t.Fatal(r, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "list:") || !utf8.ValidString(err.Error()) {
				t.Fatalf("%q", err)
			}
			return
		}
		if r.Len() == 0 || r.Len() > 1+strings.Count(string(data), "\n") {
			t.Fatalf("%d recipients", r.Len())
		}
		rules := Rules{Hostname: "mx.test", Domains: NewDomains([]Domain{{domain, r}})}
		for local := range r.known {
			if local == "" || !utf8.ValidString(local) || fold(local) != local {
				t.Fatalf("%q is known", local)
			}
			if !r.Has(local) || !r.Has(asciiUpper(local)) || !r.Has(local+"+x") && !strings.Contains(local, "+") {
				t.Fatalf("%q is listed, but not found", local)
			}
			p := mustPath(t, "x@a.example.net")
			p.Local = local
			if _, reply := rules.Rcpt(Rcpt{Path: p, SMTPUTF8: true}); (reply.Code == 0) != wild {
				t.Fatalf("%v: %v", p, reply)
			}
		}
		if r.Has("no-such-mailbox-in-any-seed-0123456789") {
			t.Fatal("has anybody")
		}
	})
}

func asciiUpper(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	}, s)
}
