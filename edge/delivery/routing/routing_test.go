package routing

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"anymx/edge/judge/policy"
	"anymx/edge/mail"
)

// configured has every way to name a domain.
var configured = []Domain{
	{"example.net", ""}, {"a.example", "a"}, {"*.a.example", "b"}, {"mx.a.example", ""}, {"*.deep.a.example", ""},
	{"x.deep.a.example", "a"}, {"xn--bcher-kva.example", "a"}, {"*.wild.example", "a"}, {"wild.example", ""},
}

func TestDestination(t *testing.T) {
	table := New(configured)
	for domain, want := range map[string]string{
		"example.net": "", "a.example": "core/a", "A.Example": "core/a", "x.a.example": "core/b", "Y.X.a.example": "core/b",
		"mx.a.example": "", "MX.a.example": "", "y.mx.a.example": "core/b", "deep.a.example": "core/b", "y.deep.a.example": "",
		"x.deep.a.example": "core/a", "y.x.deep.a.example": "", "bücher.example": "core/a", "XN--BCHER-KVA.example": "core/a",
		"wild.example": "", "x.wild.example": "core/a", "xwild.example": "", "other.example": "", "": "", "example": "",
		"[192.0.2.1]": "", "a.example.": "",
	} {
		if got := table.Destination(domain); got != want {
			t.Errorf("%q goes to %q, want %q", domain, got, want)
		}
	}
}

func TestGroupOf(t *testing.T) {
	for destination, want := range map[string]string{"": " true", "core/a": "a true", "core/": " false", "example.net": " false", "core": " false"} {
		name, ok := GroupOf(destination)
		if got := fmt.Sprint(name, " ", ok); !ok && want != " false" || ok && got != want {
			t.Errorf("%q is %s, want %s", destination, got, want)
		}
	}
	if name, ok := GroupOf(CoreGroup("a")); name != "a" || !ok {
		t.Error(name, ok)
	}
}

// to makes an envelope to one user at each domain.
func to(domains ...string) *mail.Envelope {
	env := &mail.Envelope{}
	for i, d := range domains {
		env.Recipients = append(env.Recipients, mail.Recipient{Path: mail.Path{Local: fmt.Sprint("u", i), Domain: d}})
	}
	return env
}

func TestLegs(t *testing.T) {
	table := New(configured)
	leg := func(destination string, recipients ...int) mail.Leg {
		return mail.Leg{Destination: destination, Recipients: recipients}
	}
	for _, x := range []struct {
		name string
		to   []string
		want []mail.Leg
	}{
		{"no recipients", nil, nil},
		{"one to the default core", []string{"example.net"}, nil},
		{"all to the default core", []string{"example.net", "mx.a.example", "other.example"}, nil},
		{"one to a group", []string{"a.example"}, []mail.Leg{leg("core/a")}},
		{"all to one group", []string{"a.example", "A.EXAMPLE", "x.wild.example"}, []mail.Leg{leg("core/a")}},
		{"default first", []string{"example.net", "a.example", "example.net"}, []mail.Leg{leg("", 0, 2), leg("core/a", 1)}},
		{"group first", []string{"a.example", "example.net"}, []mail.Leg{leg("core/a", 0), leg("", 1)}},
		{"three", []string{"x.a.example", "x.a.example", "a.example", "example.net", "a.example", "y.a.example", "wild.example"}, []mail.Leg{
			leg("core/b", 0, 1, 5), leg("core/a", 2, 4), leg("", 3, 6),
		}},
		{"no domain", []string{"", "a.example", ""}, []mail.Leg{leg("", 0, 2), leg("core/a", 1)}},
	} {
		if got := table.Legs(to(x.to...)); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s: got %v, want %v", x.name, got, x.want)
		}
	}
}

// A notification goes where its recipient's domain goes, like any other message.
func TestNotification(t *testing.T) {
	table := New(configured)
	for domain, want := range map[string][]mail.Leg{
		"example.net": nil, "sender.example": nil, "a.example": {{Destination: "core/a"}},
	} {
		env := to(domain)
		env.Origin = mail.Local // with the null sender
		if got := table.Legs(env); !reflect.DeepEqual(got, want) {
			t.Errorf("to %s: %v", domain, got)
		}
	}
}

// Without groups there is nothing to look up.
func TestNoGroups(t *testing.T) {
	if table := New([]Domain{{"example.net", ""}, {"*.example.net", ""}}); table != nil {
		t.Error("a table without groups")
	}
	var none *Table
	if none.Legs(to("example.net")) != nil || none.Destination("example.net") != "" || New(nil) != nil {
		t.Error("no table doesn't mean the default core")
	}
}

// A table holds what the groups need of the config, not the whole of it.
func TestSize(t *testing.T) {
	var domains []Domain
	for i := range 1000 {
		domains = append(domains, Domain{Name: fmt.Sprintf("d%d.example", i)})
	}
	domains = append(domains, Domain{"*.far.example", "far"}, Domain{"near.far.example", ""})
	if n := New(domains).destinations.Len(); n != 2 {
		t.Errorf("%d entries", n)
	}
}

// Legs costs nothing for mail to the default core.
func TestAllocations(t *testing.T) {
	table := New(configured)
	var domains []string
	for i := range 100 {
		domains = append(domains, []string{"example.net", "mx.a.example", "y.deep.a.example"}[i%3])
	}
	many, one, group := to(domains...), to("example.net"), to("a.example", "a.example")
	for name, x := range map[string]struct {
		table *Table
		env   *mail.Envelope
		most  float64
	}{"no groups": {nil, one, 0}, "one": {table, one, 0}, "many": {table, many, 0}, "one group": {table, group, 1}} {
		if n := testing.AllocsPerRun(100, func() { x.table.Legs(x.env) }); n > x.most {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// For any config and any recipients: each recipient is in exactly one leg, that of the domain that
// policy would accept it for, and the order is as promised.
func TestAgreesWithPolicy(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	labels := []string{"a", "b", "C", "bücher", "xn--bcher-kva"}
	domain := func() string {
		parts := make([]string, 1+random.IntN(4))
		for i := range parts {
			parts[i] = labels[random.IntN(len(labels))]
		}
		return strings.Join(parts, ".")
	}
	for range 5000 {
		var domains []Domain
		owner := policy.NewDomainMap[string]()
		for range random.IntN(8) {
			d := Domain{domain(), []string{"", "g1", "g2"}[random.IntN(3)]}
			if random.IntN(2) == 0 {
				d.Name = "*." + d.Name
			}
			if slices.ContainsFunc(domains, func(other Domain) bool { return asciiName(other.Name) == asciiName(d.Name) }) {
				continue
			}
			domains = append(domains, d)
			owner.Set(d.Name, d.Core)
		}
		names := make([]string, 1+random.IntN(6))
		for i := range names {
			names[i] = domain()
		}
		checkLegs(t, domains, &owner, names)
		if t.Failed() {
			return
		}
	}
}

func checkLegs(t *testing.T, domains []Domain, owner *policy.DomainMap[string], names []string) {
	t.Helper()
	legs := New(domains).Legs(to(names...))
	got := make([]string, len(names))
	seen, before := 0, -1
	for _, l := range legs {
		if l.Recipients == nil && len(legs) == 1 {
			for i := range got {
				got[i] = l.Destination
			}
			seen = len(got)
			break
		}
		if len(l.Recipients) == 0 || !slices.IsSorted(l.Recipients) || l.Recipients[0] <= before {
			t.Errorf("%v: legs %v", names, legs)
			return
		}
		before = l.Recipients[0]
		for _, n := range l.Recipients {
			got[n] = l.Destination
			seen++
		}
	}
	if seen != len(names) && legs != nil {
		t.Errorf("%v: %d of %d recipients in %v", names, seen, len(names), legs)
	}
	for i, name := range names {
		want, _ := owner.Lookup(name)
		if want != "" {
			want = CoreGroup(want)
		}
		if got[i] != want {
			t.Errorf("%s of %v goes to %q, want %q, with %v", name, names, got[i], want, domains)
		}
	}
}

func BenchmarkLegs(b *testing.B) {
	table := New(configured)
	for name, env := range map[string]*mail.Envelope{"default": to("example.net"), "group": to("a.example"), "two": to("a.example", "example.net")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table.Legs(env)
			}
		})
	}
}
