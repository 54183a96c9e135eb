package mail

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCutPath(t *testing.T) {
	long := strings.Repeat("x", MaxLocal)
	domain := strings.Repeat(strings.Repeat("d", 62)+".", 3) // 189 bytes with its last dot
	tests := []struct {
		arg, want, rest string
		local           string // where it differs from the written form
	}{
		{arg: "<>"},
		{arg: "<> BODY=8BITMIME", rest: " BODY=8BITMIME"},
		{arg: "<a@example.net>", want: "a@example.net"},
		{arg: " <a@example.net>", want: "a@example.net"},
		{arg: "a@example.net", want: "a@example.net"},
		{arg: "a@example.net SIZE=1", want: "a@example.net", rest: " SIZE=1"},
		{arg: "<a@example.net> SIZE=1", want: "a@example.net", rest: " SIZE=1"},
		{arg: "<postmaster>", want: "postmaster"},
		{arg: "<PostMaster> NOTIFY=NEVER", want: "PostMaster", rest: " NOTIFY=NEVER"},
		{arg: "<a.b+c=d_e@x-y.example>", want: "a.b+c=d_e@x-y.example"},
		{arg: "<a%b@example.net>", want: "a%b@example.net"},
		{arg: "<a!b@example.net>", want: "a!b@example.net"},
		{arg: "<@one.example,@two.example:a@example.net>", want: "a@example.net"},
		{arg: `<"a"@example.net>`, want: "a@example.net"},
		{arg: `<"\a\b"@example.net>`, want: "ab@example.net"},
		{arg: `<"a b"@example.net>`, want: `"a b"@example.net`, local: "a b"},
		{arg: `<"a@b"@example.net>`, want: `"a@b"@example.net`, local: "a@b"},
		{arg: `<"a>b"@example.net>`, want: `"a>b"@example.net`, local: "a>b"},
		{arg: `<"a\"b\\"@example.net> X`, want: `"a\"b\\"@example.net`, local: `a"b\`, rest: " X"},
		{arg: `<".a"@example.net>`, want: `".a"@example.net`, local: ".a"},
		{arg: `<"a..b"@example.net>`, want: `"a..b"@example.net`, local: "a..b"},
		{arg: "<a@[192.0.2.1]>", want: "a@[192.0.2.1]"},
		{arg: "<a@[IPv6:2001:db8::1]>", want: "a@[IPv6:2001:db8::1]"},
		{arg: "<a@[ipv6:::ffff:192.0.2.1]>", want: "a@[ipv6:::ffff:192.0.2.1]"},
		{arg: "<jörg@bücher.example>", want: "jörg@bücher.example"},
		{arg: "<用户@例え.テスト>", want: "用户@例え.テスト"},
		{arg: "<a@under_score.example>", want: "a@under_score.example"},
		{arg: "<" + long + "@example.net>", want: long + "@example.net"},
		{arg: "<a@" + domain + strings.Repeat("d", 62) + ">", want: "a@" + domain + strings.Repeat("d", 62)},
	}
	for _, tt := range tests {
		p, rest, err := CutPath(tt.arg)
		if err != nil {
			t.Errorf("CutPath(%q): %v", tt.arg, err)
			continue
		}
		if p.String() != tt.want || rest != tt.rest {
			t.Errorf("CutPath(%q) = %q, rest %q; want %q, rest %q", tt.arg, p, rest, tt.want, tt.rest)
		}
		if tt.local != "" && p.Local != tt.local {
			t.Errorf("CutPath(%q): local part %q, want %q", tt.arg, p.Local, tt.local)
		}
	}
}

func TestCutPathRefuses(t *testing.T) {
	label := strings.Repeat("d", 63)
	for _, arg := range []string{
		"", " ", "<", ">", "<@>", "<a>", "<a@>", "<@b>", "a", "@", "a@",
		"<a@b@c>", "a@b@c", "<a@b>c@d>", "<a@b>c@d", "<a@b", "a@b>", "<<a@b>>", "<a@b>>",
		"< a@b>", "<a @b>", "<a@ b>", "<a@b >", "<a@b>\tX", "<a\t@b>", "<>x",
		"<.a@b>", "<a.@b>", "<a..b@c>", "<a@.b>", "<a@b.>", "<a@b..c>", "<a@-b>", "<a@b->", "<a@b-.c>",
		"<a,b@c>", "<a;b@c>", "<a:b@c>", "<a(b)@c>", `<a\b@c>`, `<a"b@c>`, `<a"b"@c>`, `<"a"b@c>`, `<"a".b@c>`,
		`<""@c>`, `<"a@c>`, `<"a\"@c>`, `<"a`, `<"a\`, `<"`,
		"<a\x00@b>", "<a\r@b>", "<a\n@b>", "<a@b\r>", "<a@b\x00>", "<a\x7f@b>", "<\"a\r\nb\"@c>", "<\"a\x00b\"@c>", "<\"\\\x00\"@c>", "<\"\\\xc3\xa9\"@c>",
		"<a\xff@b>", "<a@b\xff>", "<\"a\xff\"@b>", "<\xc3@b>",
		"<a\u0085b@c>", "<a\u2028b@c>", "<a\u202eb@c>", "<a\u00a0b@c>", "<\"a\u202eb\"@c>", // controls, separators, direction
		"<a@b。c>", "<a@b\u202e.c>", "<a@b/c>", "<a@b．c>", "<a@☃.example>", "<a@b c>", "<a@b%c>", "<a@b,c>", "<a@(b)>",
		"<a@[192.0.2.1>", "<a@192.0.2.1]>", "<a@[]>", "<a@[192.0.2]>", "<a@[192.0.2.256]>", "<a@[192.0.2.01]>",
		"<a@[2001:db8::1]>", "<a@[IPv6:192.0.2.1]>", "<a@[IPv6:fe80::1%eth0]>", "<a@[x:y]>", "<a@[192.0.2.1].b>", "<a@[", "<a@]>",
		"<@one.example>", "<@one.example:>", "<@one,two:a@b>", "<@:a@b>", "<@one,:a@b>", "<@[192.0.2.1]:a@b>", "<@a@b:c@d>",
		"<" + strings.Repeat("x", MaxLocal+1) + "@b>",
		`<"` + strings.Repeat("x", MaxLocal+1) + `"@b>`,
		`<"` + strings.Repeat(`\"`, MaxLocal/2) + `"@b>`, // too long once it is written
		`<"` + strings.Repeat(`x`, 1<<20),
		"<a@" + label + "d>",
		"<a@" + label + "." + label + "." + label + "." + label + ">",
	} {
		p, rest, err := CutPath(arg)
		if err == nil {
			t.Errorf("CutPath(%.80q) = %+v, rest %q; want an error", arg, p, rest)
		} else if !errors.Is(err, ErrPath) {
			t.Errorf("CutPath(%.80q): %v does not wrap ErrPath", arg, err)
		}
		if p != (Path{}) && err != nil && rest == "" {
			t.Errorf("CutPath(%.80q): both a path and an error", arg)
		}
	}
}

func TestParsePath(t *testing.T) {
	for _, s := range []string{"a@example.net", `"a b"@example.net`, "postmaster", "jörg@bücher.example", "a@[IPv6:2001:db8::1]"} {
		if p, err := ParsePath(s); err != nil || p.String() != s {
			t.Errorf("ParsePath(%q) = %q, %v", s, p, err)
		}
	}
	for _, s := range []string{"", "<a@b>", "a@b c", "a@b ", " a@b", "a@b>", "@one:a@b", "a@b,c@d"} {
		if p, err := ParsePath(s); !errors.Is(err, ErrPath) {
			t.Errorf("ParsePath(%q) = %+v, %v; want ErrPath", s, p, err)
		}
	}
}

func TestPathKey(t *testing.T) {
	tests := []struct{ a, b string }{
		{"A@Example.NET", "A@example.net"},
		{"a@BÜCHER.example", "a@xn--bcher-kva.example"},
		{"a@[IPv6:2001:DB8::1]", "a@[ipv6:2001:db8::1]"},
	}
	for _, tt := range tests {
		a, errA := ParsePath(tt.a)
		b, errB := ParsePath(tt.b)
		if errA != nil || errB != nil || a.Key() != b.Key() {
			t.Errorf("keys of %s and %s: %+v, %+v", tt.a, tt.b, a.Key(), b.Key())
		}
	}
	upper, lower := Path{"A", "b"}, Path{"a", "b"}
	if upper.Key() == lower.Key() {
		t.Error("the case of a local part must be preserved")
	}
}

func TestPathKinds(t *testing.T) {
	if p := (Path{}); !p.IsNull() || p.String() != "" || p.IsPostmaster() || !p.IsASCII() {
		t.Error("the zero Path is the null path")
	}
	if p := (Path{Local: "PostMaster", Domain: "b"}); !p.IsPostmaster() || p.IsNull() {
		t.Error("postmaster exists in any case and domain")
	}
	if (Path{"a", "bü"}).IsASCII() || (Path{"ü", "b"}).IsASCII() {
		t.Error("umlauts are not ASCII")
	}
}

func TestPathJSON(t *testing.T) {
	for _, p := range []Path{{}, {"a", "b.example"}, {"a b", "b.example"}, {Local: "postmaster"}} {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var back Path
		if err := json.Unmarshal(text, &back); err != nil || back != p {
			t.Errorf("%+v became %s became %+v (%v)", p, text, back, err)
		}
	}
	var p Path
	if err := json.Unmarshal([]byte(`"a@b@c"`), &p); err == nil {
		t.Error("JSON must not bypass the parser")
	}
}

// checkPath checks what must be true of every accepted Path: it has one spelling, which parses back
// to the same Path and can't break a line.
func checkPath(t *testing.T, p Path) {
	t.Helper()
	s := p.String()
	if string(p.AppendTo(nil)) != s {
		t.Fatalf("%+v: AppendTo and String differ", p)
	}
	if len(s)+2 > MaxPath || !utf8.ValidString(s) {
		t.Fatalf("%+v is written as %q", p, s)
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			t.Fatalf("control character in %q", s)
		}
	}
	if p.IsNull() {
		return
	}
	back, err := ParsePath(s)
	if err != nil || back != p {
		t.Fatalf("%+v is written as %q, which reads as %+v (%v)", p, s, back, err)
	}
	cut, rest, err := CutPath("<" + s + "> X=Y")
	if err != nil || cut != p || rest != " X=Y" {
		t.Fatalf("<%s> reads as %+v, %q (%v)", s, cut, rest, err)
	}
	if again := p.Key().Key(); again != p.Key() {
		t.Fatalf("key of the key of %+v is %+v", p, again)
	}
}

var pathSeeds = []string{
	"<>", "<a@example.net> SIZE=1", "<postmaster>", `<"a b\"c"@example.net>`, "<@one,@two:a@b>", "<a@[192.0.2.1]>",
	"<a@[IPv6:2001:db8::1]>", "<a%b@c>", "<a@b@c>", "<jörg@bücher.example>", "a@b", "<a@b。c>", "<a@B\u0307.c>",
}

func FuzzCutPath(f *testing.F) {
	for _, s := range pathSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		p, rest, err := CutPath(arg)
		if err != nil {
			return
		}
		if rest != "" && rest[0] != ' ' || !strings.HasSuffix(arg, rest) {
			t.Fatalf("rest of %q is %q", arg, rest)
		}
		checkPath(t, p)
	})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range pathSeeds {
		f.Add(strings.Trim(s, "<>"))
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePath(s); err == nil {
			checkPath(t, p)
		}
	})
}

func BenchmarkCutPath(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := CutPath("<someone.else@example.net> SIZE=10240"); err != nil {
			b.Fatal(err)
		}
	}
}
