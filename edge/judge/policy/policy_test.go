package policy

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"anymx/edge/mail"
)

func mustPath(t testing.TB, s string) mail.Path {
	t.Helper()
	p, rest, err := mail.CutPath("<" + s + ">")
	if err != nil || rest != "" {
		t.Fatalf("%q: %v", s, err)
	}
	return p
}

func mustRecipients(t testing.TB, text, domain string) *Recipients {
	t.Helper()
	r, err := ParseRecipients("recipients", []byte(text), domain)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestMail(t *testing.T) {
	ascii, utf8 := mustPath(t, "a@sender.example"), mustPath(t, "jörg@sender.example")
	limits := Rules{Hostname: "mx.test", MaxMessage: 1000, MaxMessages: 3}
	tls := Rules{Hostname: "mx.test", RequireTLS: true}
	full := errors.New("high water")
	tests := []struct {
		name  string
		rules Rules
		facts Mail
		want  string // "" accepts
	}{
		{"plain", limits, Mail{Sender: ascii}, ""},
		{"null sender", limits, Mail{}, ""},
		{"no limits", Rules{}, Mail{Sender: ascii, Size: 1 << 40, Messages: 1 << 30}, ""},
		{"second MAIL", limits, Mail{Sender: ascii, Open: true}, "503 5.5.1 "},
		{"size at the limit", limits, Mail{Sender: ascii, Size: 1000}, ""},
		{"size above it", limits, Mail{Sender: ascii, Size: 1001}, "552 5.3.4 message size exceeds the limit of 1000 bytes"},
		{"last message", limits, Mail{Sender: ascii, Messages: 2}, ""},
		{"one too many", limits, Mail{Sender: ascii, Messages: 3}, "421 4.7.0 mx.test "},
		{"spool is full", limits, Mail{Sender: ascii, Storage: full}, "452 4.3.1 "},
		{"full before too large", limits, Mail{Sender: ascii, Size: 1001, Storage: full}, "452 4.3.1 "},
		{"no TLS", tls, Mail{Sender: ascii}, "530 5.7.0 "},
		{"TLS", tls, Mail{Sender: ascii, TLS: true}, ""},
		{"REQUIRETLS without TLS", limits, Mail{Sender: ascii, RequireTLS: true}, "530 5.7.0 "},
		{"REQUIRETLS with TLS", limits, Mail{Sender: ascii, RequireTLS: true, TLS: true}, ""},
		{"UTF-8 without SMTPUTF8", limits, Mail{Sender: utf8}, "553 5.6.7 "},
		{"UTF-8 domain without SMTPUTF8", limits, Mail{Sender: mustPath(t, "a@bücher.example")}, "553 5.6.7 "},
		{"UTF-8 with SMTPUTF8", limits, Mail{Sender: utf8, SMTPUTF8: true}, ""},
	}
	for _, tt := range tests {
		if got := tt.rules.Mail(tt.facts); !matches(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// matches reports whether r is a complete refusal that begins with want, or the zero reply if want
// is "".
func matches(r mail.Reply, want string) bool {
	if want == "" {
		return r == mail.Reply{}
	}
	return strings.HasPrefix(r.String(), want) && r.Text != "" && r.Enhanced[0] == r.Code/100
}

func TestRcpt(t *testing.T) {
	rules := Rules{
		Hostname: "MX.test", MaxRecipients: 5, MaxRefused: 4,
		Domains: NewDomains([]Domain{
			{Name: "*.wild.example"},
			{Name: "example.net", Recipients: mustRecipients(t, "alice\nBob\nd+x\njörg\n", "example.net")},
			{Name: "any.example"},
			{Name: "xn--bcher-kva.example"},
			{Name: "*.listed.example", Recipients: mustRecipients(t, "carol", "*.listed.example")},
			{Name: "unread.example", Recipients: Unavailable},
		}),
	}
	wildOnly := Rules{Hostname: "mx.test", Domains: NewDomains([]Domain{{Name: "*.wild.example"}})}
	none := Rules{Hostname: "mx.test"}
	tests := []struct {
		name  string
		rules Rules
		facts Rcpt
		path  string // "" for the same
		want  string // "" accepts
	}{
		{"any", rules, Rcpt{Path: mustPath(t, "x@any.example")}, "", ""},
		{"listed", rules, Rcpt{Path: mustPath(t, "alice@example.net")}, "", ""},
		{"case is kept", rules, Rcpt{Path: mustPath(t, "ALICE@Example.NET")}, "ALICE@Example.NET", ""},
		{"listed in capitals", rules, Rcpt{Path: mustPath(t, "bob@example.net")}, "", ""},
		{"detail", rules, Rcpt{Path: mustPath(t, "alice+lists+go@example.net")}, "", ""},
		{"listed with detail", rules, Rcpt{Path: mustPath(t, "d+x@example.net")}, "", ""},
		{"other detail", rules, Rcpt{Path: mustPath(t, "d+y@example.net")}, "", "550 5.1.1 "},
		{"only detail", rules, Rcpt{Path: mustPath(t, "+alice@example.net")}, "", "550 5.1.1 "},
		{"unknown", rules, Rcpt{Path: mustPath(t, "eve@example.net")}, "", "550 5.1.1 "},
		{"quoted", rules, Rcpt{Path: mustPath(t, `"alice"@example.net`)}, "alice@example.net", ""},
		{"UTF-8", rules, Rcpt{Path: mustPath(t, "JÖRG@example.net"), SMTPUTF8: true}, "", ""},
		{"UTF-8 without SMTPUTF8", rules, Rcpt{Path: mustPath(t, "jörg@example.net")}, "", "553 5.6.7 "},
		{"not what only looks listed", rules, Rcpt{Path: mustPath(t, "al\u0130ce@example.net"), SMTPUTF8: true}, "", "550 5.1.1 "},
		{"other domain", rules, Rcpt{Path: mustPath(t, "x@other.example")}, "", "550 5.7.1 "},
		{"parent domain", rules, Rcpt{Path: mustPath(t, "x@net")}, "", "550 5.7.1 "},
		{"subdomain", rules, Rcpt{Path: mustPath(t, "alice@sub.example.net")}, "", "550 5.7.1 "},
		{"percent hack", rules, Rcpt{Path: mustPath(t, "x%other.example@example.net")}, "", "550 5.1.3 "},
		{"quoted route", rules, Rcpt{Path: mustPath(t, `"x@other.example"@example.net`)}, "", "550 5.1.3 "},
		{"source route", rules, Rcpt{Path: mustPath(t, "@example.net:x@other.example")}, "", "550 5.7.1 "},
		{"literal", rules, Rcpt{Path: mustPath(t, "x@[192.0.2.1]")}, "", "550 5.7.1 "},
		{"null path", rules, Rcpt{}, "", "550 5.7.1 "},
		{"wildcard", rules, Rcpt{Path: mustPath(t, "x@a.b.wild.example")}, "", ""},
		{"wildcard's own name", rules, Rcpt{Path: mustPath(t, "x@wild.example")}, "", "550 5.7.1 "},
		{"wildcard with a list", rules, Rcpt{Path: mustPath(t, "carol@x.listed.example")}, "", ""},
		{"not on it", rules, Rcpt{Path: mustPath(t, "x@x.listed.example")}, "", "550 5.1.1 "},
		{"list that could not be read", rules, Rcpt{Path: mustPath(t, "alice@unread.example")}, "", "451 4.3.0 "},
		{"postmaster of its domain", rules, Rcpt{Path: mustPath(t, "postmaster@unread.example")}, "", ""},
		{"A-label", rules, Rcpt{Path: mustPath(t, "x@XN--BCHER-KVA.example")}, "", ""},
		{"U-label", rules, Rcpt{Path: mustPath(t, "x@Bücher.example"), SMTPUTF8: true}, "", ""},

		{"postmaster", rules, Rcpt{Path: mustPath(t, "PostMaster")}, "PostMaster@example.net", ""},
		{"postmaster of a domain with a list", rules, Rcpt{Path: mustPath(t, "POSTMASTER@example.net")}, "", ""},
		{"postmaster of our host", rules, Rcpt{Path: mustPath(t, "postmaster@mx.TEST")}, "", ""},
		{"postmaster of another domain", rules, Rcpt{Path: mustPath(t, "postmaster@other.example")}, "", "550 5.7.1 "},
		{"postmaster's detail", rules, Rcpt{Path: mustPath(t, "postmaster+x@example.net")}, "", "550 5.1.1 "},
		{"abuse of our host", rules, Rcpt{Path: mustPath(t, "abuse@mx.test")}, "", "550 5.7.1 "},
		{"postmaster without a domain of its own", wildOnly, Rcpt{Path: mustPath(t, "postmaster")}, "postmaster@mx.test", ""},
		{"postmaster without any domain", none, Rcpt{Path: mustPath(t, "postmaster")}, "postmaster@mx.test", ""},
		{"no domain", none, Rcpt{Path: mustPath(t, "x@example.net")}, "", "550 5.7.1 "},

		{"last recipient", rules, Rcpt{Path: mustPath(t, "x@any.example"), Recipients: 4}, "", ""},
		{"one too many", rules, Rcpt{Path: mustPath(t, "x@any.example"), Recipients: 5}, "", "452 4.5.3 "},
		{"last refusal", rules, Rcpt{Path: mustPath(t, "x@any.example"), Refused: 3}, "", ""},
		{"enough refused", rules, Rcpt{Path: mustPath(t, "x@any.example"), Refused: 4, Recipients: 5}, "", "421 4.7.0 MX.test "},
		{"no limits", wildOnly, Rcpt{Path: mustPath(t, "x@a.wild.example"), Refused: 1 << 30, Recipients: 1 << 30}, "", ""},
	}
	for _, tt := range tests {
		path, got := tt.rules.Rcpt(tt.facts)
		if !matches(got, tt.want) {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
		want := tt.facts.Path.String()
		if tt.path != "" {
			want = tt.path
		}
		if tt.want != "" {
			want = ""
		}
		if path.String() != want {
			t.Errorf("%s: to %q, want %q", tt.name, path, want)
		}
	}
}

func TestHeader(t *testing.T) {
	tests := []struct {
		max, received int
		want          string
	}{{0, 1000, ""}, {50, 0, ""}, {50, 50, ""}, {50, 51, "554 5.4.6 "}, {50, 3000, "552 5.3.4 "}}
	for _, tt := range tests {
		rules := Rules{MaxReceived: tt.max, MaxHeader: 256 << 10, MaxFields: 2000}
		h := mail.Header{MaxSize: rules.MaxHeader, MaxFields: rules.MaxFields}
		h.Write([]byte(strings.Repeat("Received: x\r\n", tt.received) + "\r\n"))
		if got := rules.Header(&h); !matches(got, tt.want) {
			t.Errorf("%d of %d: %q", tt.received, tt.max, got)
		}
	}
}

// The first refusal counts, what checks add adds up, and a discarded message can still be refused.
func TestAsk(t *testing.T) {
	says := func(v Verdict) Check { return func(context.Context, *Facts) Verdict { return v } }
	refusal := mail.Reply{Code: 550, Text: "no"}
	tests := map[string]struct {
		checks []Verdict
		want   Verdict
	}{
		"nobody":                {nil, Verdict{}},
		"all accept":            {[]Verdict{{Tags: []string{"a"}}, {Tags: []string{"b"}, Route: "x"}, {NoDSN: true}}, Verdict{Tags: []string{"a", "b"}, Route: "x", NoDSN: true}},
		"the first refusal":     {[]Verdict{{Action: Refuse, Reply: refusal}, {Tags: []string{"not asked"}}}, Verdict{Action: Refuse, Reply: refusal}},
		"discarded":             {[]Verdict{{Action: Discard}, {Tags: []string{"a"}}}, Verdict{Action: Discard, Tags: []string{"a"}}},
		"discarded and refused": {[]Verdict{{Action: Discard}, {Action: Refuse, Reply: refusal}}, Verdict{Action: Refuse, Reply: refusal}},
	}
	for name, tt := range tests {
		var checks Checks
		for _, v := range tt.checks {
			checks.Add(AtRcpt, says(v))
		}
		var got Verdict
		checks.Ask(t.Context(), AtRcpt, &Facts{}, &got)
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v", name, got)
		}
		if checks.Ask(t.Context(), AtMail, &Facts{}, &got); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: another stage said %+v", name, got)
		}
	}
}

// What one recipient's check adds does not show up at another's.
func TestAskCopies(t *testing.T) {
	known := Verdict{Tags: make([]string, 1, 8)}
	var checks Checks
	n := 0
	checks.Add(AtRcpt, func(context.Context, *Facts) Verdict { n++; return Verdict{Tags: []string{fmt.Sprint(n)}} })
	first, second := known, known
	checks.Ask(t.Context(), AtRcpt, &Facts{}, &first)
	checks.Ask(t.Context(), AtRcpt, &Facts{}, &second)
	if first.Tags[1] != "1" || second.Tags[1] != "2" {
		t.Errorf("%q, %q", first.Tags, second.Tags)
	}
}

// TestNeverARelay combines random parts to addresses, and compares the decisions with those of a
// slow but simple model.
func TestNeverARelay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	labels := []string{"a", "b", "EXAMPLE", "net", "xn--bcher-kva", "bücher"}
	locals := []string{"alice", "ALICE", "alice+x", "eve", "postmaster", "Postmaster"}
	draw := func(n int) string {
		var parts []string
		for range 1 + rng.IntN(n) {
			parts = append(parts, labels[rng.IntN(len(labels))])
		}
		return strings.Join(parts, ".")
	}
	plain := func(name string) string {
		return strings.ReplaceAll(strings.ToLower(name), "bücher", "xn--bcher-kva")
	}
	accepted := 0
	for range 20_000 {
		listed := map[string]bool{} // by name; true: with a list of alice
		var domains []Domain
		for range rng.IntN(5) {
			d := Domain{Name: draw(3)}
			if rng.IntN(2) == 0 {
				d.Name = "*." + d.Name
			}
			if rng.IntN(2) == 0 {
				d.Recipients = &Recipients{known: map[string]struct{}{"alice": {}}}
			}
			listed[plain(d.Name)] = d.Recipients != nil
			domains = append(domains, d)
		}
		rules := Rules{Hostname: "mx.test", Domains: NewDomains(domains)}
		p := mail.Path{Local: locals[rng.IntN(len(locals))], Domain: draw(4)}

		name := plain(p.Domain)
		list, ours := listed[name]
		for rest := name; !ours && strings.Contains(rest, "."); {
			_, rest, _ = strings.Cut(rest, ".")
			list, ours = listed["*."+rest]
		}
		local := strings.ToLower(p.Local)
		want := ours && (!list || local == "postmaster" || local == "alice" || local == "alice+x")

		to, reply := rules.Rcpt(Rcpt{Path: p, SMTPUTF8: true})
		if got := reply.Code == 0; got != want || got && to != p {
			t.Fatalf("%v with %v: %q, want accepted: %v", p, listed, reply, want)
		}
		if want {
			accepted++
		}
	}
	if accepted < 1000 || accepted > 19_000 {
		t.Errorf("%d of 20000 were accepted: the random addresses are not useful", accepted)
	}
}

// TestHotPath checks that accepting an ordinary recipient doesn't allocate.
func TestHotPath(t *testing.T) {
	rules := Rules{Hostname: "mx.test", MaxRecipients: 100, MaxRefused: 100, MaxMessage: 1000, Domains: NewDomains([]Domain{
		{Name: "example.net", Recipients: mustRecipients(t, "alice", "example.net")}, {Name: "*.wild.example"},
	})}
	sender := mustPath(t, "a@sender.example")
	for _, to := range []mail.Path{mustPath(t, "alice@example.net"), mustPath(t, "alice+x@example.net"), mustPath(t, "x@a.b.wild.example")} {
		if n := testing.AllocsPerRun(100, func() {
			if r := rules.Mail(Mail{Sender: sender, Size: 10}); r.Code != 0 {
				t.Fatal(r)
			}
			if _, r := rules.Rcpt(Rcpt{Path: to}); r.Code != 0 {
				t.Fatal(r)
			}
		}); n > 0 {
			t.Errorf("%v: %v allocations", to, n)
		}
	}
}

func BenchmarkRcpt(b *testing.B) {
	rules := Rules{Hostname: "mx.test", Domains: NewDomains([]Domain{
		{Name: "example.net", Recipients: mustRecipients(b, "alice", "example.net")}, {Name: "*.wild.example"},
	})}
	for _, to := range []string{"alice@example.net", "Alice@Example.net", "x@a.b.wild.example", "x@other.example", "x@bücher.example"} {
		b.Run(to, func(b *testing.B) {
			p := mustPath(b, to)
			b.ReportAllocs()
			for b.Loop() {
				rules.Rcpt(Rcpt{Path: p, SMTPUTF8: true})
			}
		})
	}
}
