package mail

import (
	"regexp"
	"strings"
	"testing"
)

func TestAppendAuthenticationResults(t *testing.T) {
	tests := []struct {
		name    string
		utf8ok  bool
		results []AuthResult
		want    string
	}{
		{"none", false, nil, "Authentication-Results: mx.example.net; none\n"},
		{"left out", false, []AuthResult{{}}, "Authentication-Results: mx.example.net; none\n"},
		{"all methods", false, []AuthResult{
			{Method: MethodSPF, Verdict: AuthPass, Props: []AuthProp{{"smtp", "mailfrom", "example.com"}}},
			{Method: MethodDKIM, Verdict: AuthFail, Reason: "bad signature", Props: []AuthProp{{"header", "d", "example.com"}, {"header", "s", "sel"}, {"header", "b", "dzdV/y+a="}}},
			{Method: MethodDMARC, Verdict: AuthPass, Props: []AuthProp{{"header", "from", "example.com"}, {"policy", "dmarc", "reject"}}},
			{Method: MethodIPRev, Verdict: AuthTempError, Props: []AuthProp{{"policy", "iprev", "2001:db8::1"}}},
			{Method: MethodAuth, Verdict: AuthPass, Props: []AuthProp{{"smtp", "auth", "a.b@example.com"}}},
		}, `Authentication-Results: mx.example.net;
	spf=pass smtp.mailfrom=example.com;
	dkim=fail reason="bad signature" header.d=example.com header.s=sel
	  header.b="dzdV/y+a=";
	dmarc=pass header.from=example.com policy.dmarc=reject;
	iprev=temperror policy.iprev="2001:db8::1";
	auth=pass smtp.auth=a.b@example.com
`},
		{"hostile", false, []AuthResult{
			{Method: "s;p f", Verdict: "p=a\r\ns", Reason: "a\"b\\c\r\nd; dkim=pass é", Props: []AuthProp{
				{"smtp", "mailfrom", "x; dkim=pass"}, {"sm tp", "mail=from", "a b@c"}, {"smtp", "helo", "@example.com"}, {"smtp", "rcptto", ""},
				{"smtp", "helo", `(c)`}, {"header", "from", "jörg@example.com"}}},
		}, `Authentication-Results: mx.example.net;
	s?p?f=p?a??s reason="a\"b\\c  d; dkim=pass ?" smtp.mailfrom="x; dkim=pass"
	  sm?tp.mail?from="a b@c" smtp.helo=@example.com smtp.helo="(c)"
	  header.from=j?rg@example.com
`},
		{"UTF-8", true, []AuthResult{{Method: MethodSPF, Props: []AuthProp{{"smtp", "mailfrom", "jörg@bücher.example"}}}},
			"Authentication-Results: mx.example.net;\n\tspf=none smtp.mailfrom=jörg@bücher.example\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(AppendAuthenticationResults(nil, "mx.example.net", tt.utf8ok, tt.results))
			if want := strings.ReplaceAll(tt.want, "\n", "\r\n"); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// resinfo is one result by RFC 8601 section 2.2, unfolded, as we write them.
var resinfo = regexp.MustCompile(`^ *[a-z]+=[a-z]+( +reason="([^"\\]|\\.)*")?( +[a-z]+\.[a-z]+=("([^"\\]|\\.)*"|[^ "\\();]+))*$`)

func FuzzAuthenticationResults(f *testing.F) {
	f.Add("bad signature", "example.com", "a@b", false)
	f.Add("a\"\\\r\n;", "x; dkim=pass", "\xff\u202eé", true)
	f.Add(strings.Repeat("x", 2000), strings.Repeat(`"`, 2000), strings.Repeat("é", 2000), true)
	f.Fuzz(func(t *testing.T, reason, one, two string, utf8ok bool) {
		results := []AuthResult{{Method: MethodSPF, Verdict: AuthPass, Reason: reason, Props: []AuthProp{{"smtp", "mailfrom", one}, {"smtp", "helo", two}}}}
		got := string(AppendAuthenticationResults(nil, "mx.example.net", utf8ok, results))
		flat, ok := strings.CutPrefix(checkFolded(t, got), "Authentication-Results: mx.example.net;")
		if !ok || !resinfo.MatchString(flat) {
			t.Fatalf("bad field %q", flat)
		}
		if !utf8ok && !isASCII(got) {
			t.Fatalf("not ASCII: %q", got)
		}
	})
}
