package policy

import "testing"

func TestLookup(t *testing.T) {
	one, two, three, four, five := &Recipients{}, &Recipients{}, &Recipients{}, &Recipients{}, &Recipients{}
	for i, r := range []*Recipients{one, two, three, four, five} {
		r.known = map[string]struct{}{string(rune('a' + i)): {}} // or they might be the same
	}
	d := NewDomains([]Domain{
		{"*.example.net", one}, {"Example.NET", two}, {"*.deep.example.net", three}, {"a.deep.example.net", four},
		{"bücher.example", five}, {"*.xn--bcher-kva.example", one}, {"any.example", nil},
		{"twice.example", one}, {"TWICE.example", two}, {"under_score.example", three},
	})
	tests := []struct {
		domain string
		want   *Recipients
		ok     bool
	}{
		{"example.net", two, true},
		{"EXAMPLE.net", two, true},
		{"x.example.net", one, true},
		{"x.y.Example.Net", one, true},
		{"deep.example.net", one, true},
		{"x.deep.example.net", three, true},
		{"y.x.deep.example.net", three, true},
		{"A.deep.example.net", four, true},
		{"x.a.deep.example.net", three, true},
		{"bücher.example", five, true},
		{"BÜCHER.example", five, true},
		{"bu\u0308cher.example", five, true}, // decomposed
		{"xn--bcher-kva.example", five, true},
		{"XN--BCHER-KVA.EXAMPLE", five, true},
		{"x.bücher.example", one, true},
		{"any.example", nil, true},
		{"twice.example", two, true},
		{"under_score.example", three, true},
		{"UNDER_score.example", three, true},
		{"net", nil, false},
		{"xexample.net", nil, false},
		{"example.net.", nil, false}, // mail.Path never has one
		{".example.net", one, true},  // nor this
		{"example", nil, false},
		{"", nil, false},
		{".", nil, false},
		{"*.example.net", one, true},
		{"[192.0.2.1]", nil, false},
		{"[IPv6:2001:db8::1]", nil, false},
		{"bücher\xff.example", nil, false},
	}
	for _, tt := range tests {
		if got, ok := d.Lookup(tt.domain); got != tt.want || ok != tt.ok {
			t.Errorf("%q: %v %v", tt.domain, got, ok)
		}
	}
	for _, d := range []*Domains{nil, NewDomains(nil)} {
		if _, ok := d.Lookup("example.net"); ok || d.postmasterDomain("mx.test") != "mx.test" {
			t.Error("no domains, but found")
		}
	}
	if got := d.postmasterDomain("mx.test"); got != "example.net" {
		t.Errorf("postmaster lives in %q", got)
	}
}

// TestForCore checks that only a domain that core might read differently changes its spelling.
func TestForCore(t *testing.T) {
	for domain, want := range map[string]string{
		"example.net": "", "EXAMPLE.net": "", "xn--bcher-kva.example": "", "bücher.example": "", "BÜCHER.example": "", "[192.0.2.1]": "",
		"ｅxample.net": "example.net", "EXAMPLE.ｎet": "example.net", "\u212aelvin.example": "kelvin.example",
		"bu\u0308cher.example": "xn--bcher-kva.example", "xn--bcher-kva.ｅxample": "xn--bcher-kva.example", "XN--BCHER-KVA.bücher.example": "",
	} {
		if want == "" {
			want = domain
		}
		if got := forCore(domain); got != want {
			t.Errorf("%q: %q, want %q", domain, got, want)
		}
	}
}

// TestLookupAllocates checks that a lookup of a domain in lower-case ASCII doesn't allocate, and
// that of others only a little.
func TestLookupAllocates(t *testing.T) {
	d := NewDomains([]Domain{{"example.net", nil}, {"*.wild.example", nil}})
	for domain, most := range map[string]float64{
		"example.net": 0, "a.b.c.wild.example": 0, "other.example": 0, "Example.NET": 1,
	} {
		if n := testing.AllocsPerRun(100, func() { d.Lookup(domain) }); n > most {
			t.Errorf("%s: %v allocations", domain, n)
		}
	}
}
