package mail

import (
	"reflect"
	"strings"
	"testing"
)

func TestPathToASCII(t *testing.T) {
	for _, test := range []struct {
		path, want string // "" for want: no ASCII form
	}{
		{"a@example.net", "a@example.net"},
		{"A@Example.NET", "A@Example.NET"},
		{"a@bücher.example", "a@xn--bcher-kva.example"},
		{"a@BÜCHER.example", "a@xn--bcher-kva.example"},
		{`"a b"@bücher.example`, `"a b"@xn--bcher-kva.example`},
		{"a@xn--bcher-kva.example", "a@xn--bcher-kva.example"},
		{"a@[192.0.2.1]", "a@[192.0.2.1]"},
		{"postmaster", "postmaster"},
		{"jörg@example.net", ""},
		{"jörg@bücher.example", ""},
		{"a@a_b.bücher.example", ""},                      // IDNA has no underscore
		{"a@" + strings.Repeat("ü", 60) + ".example", ""}, // its A-label is longer than a label may be
	} {
		p, err := ParsePath(test.path)
		if err != nil {
			t.Errorf("%s: %v", test.path, err)
			continue
		}
		got, ok := p.ToASCII()
		if ok != (test.want != "") || ok && got.String() != test.want {
			t.Errorf("%s became %s, %v; want %s", test.path, got, ok, test.want)
		}
		if needs := p.Needs() == SMTPUTF8; needs == ok {
			t.Errorf("%s: has an ASCII form: %v, needs SMTPUTF8: %v", test.path, ok, needs)
		}
	}
	if p, ok := (Path{}).ToASCII(); !ok || !p.IsNull() || (Path{}).Needs() != 0 {
		t.Error("the null path is not its own ASCII form")
	}
}

func TestEnvelopeNeeds(t *testing.T) {
	const header, body = ContentKnown | ContentEightHeader, ContentKnown | ContentEightBody
	ascii, utf8 := Path{Local: "a", Domain: "bücher.example"}, Path{Local: "jörg", Domain: "example.org"}
	for _, test := range []struct {
		name string
		env  Envelope
		want Extensions
	}{
		{"nothing declared, not scanned", Envelope{Sender: ascii}, 0},
		{"both declared, ASCII", Envelope{Sender: ascii, SMTPUTF8: true, Body: Body8Bit, Content: ContentKnown}, 0},
		{"both declared, not scanned", Envelope{SMTPUTF8: true, Body: Body8Bit}, SMTPUTF8 | EightBitMIME},
		{"SMTPUTF8 declared, header", Envelope{SMTPUTF8: true, Content: header}, SMTPUTF8},
		{"SMTPUTF8 declared, body", Envelope{SMTPUTF8: true, Content: body}, 0},
		{"8BITMIME declared, header", Envelope{Body: Body8Bit, Content: header}, EightBitMIME},
		{"8BITMIME declared, body", Envelope{Body: Body8Bit, Content: body}, EightBitMIME},
		{"both declared, header", Envelope{SMTPUTF8: true, Body: Body8Bit, Content: header}, SMTPUTF8},
		{"both declared, body", Envelope{SMTPUTF8: true, Body: Body8Bit, Content: body}, EightBitMIME},
		{"both declared, both", Envelope{SMTPUTF8: true, Body: Body8Bit, Content: header | body}, SMTPUTF8 | EightBitMIME},
		{"nothing declared, both", Envelope{Content: header | body}, 0},
		{"sender", Envelope{Sender: utf8, SMTPUTF8: true, Content: ContentKnown}, SMTPUTF8},
		{"sender, not declared", Envelope{Sender: utf8}, SMTPUTF8},
	} {
		if got := test.env.Needs(); got != test.want {
			t.Errorf("%s: needs %q, want %q", test.name, got, test.want)
		}
	}
}

func TestCoreExtensions(t *testing.T) {
	for _, test := range []struct {
		name      string
		addresses []Extensions
		offer     Extensions
		supports  []Extensions
	}{
		{"nothing known", nil, AllExtensions, nil},
		{"all", []Extensions{AllExtensions}, AllExtensions, []Extensions{0, SMTPUTF8, EightBitMIME, AllExtensions}},
		{"none", []Extensions{0}, 0, []Extensions{0}},
		{"8BITMIME", []Extensions{EightBitMIME}, EightBitMIME, []Extensions{0, EightBitMIME}},
		{"one of two supports all", []Extensions{AllExtensions, 0}, 0, []Extensions{0, SMTPUTF8, EightBitMIME, AllExtensions}},
		{"each supports one", []Extensions{SMTPUTF8, EightBitMIME}, 0, []Extensions{0, SMTPUTF8, EightBitMIME}},
		{"both support one", []Extensions{AllExtensions, EightBitMIME}, EightBitMIME, []Extensions{0, SMTPUTF8, EightBitMIME, AllExtensions}},
	} {
		core := CoreUnknown
		for _, e := range test.addresses {
			core = core.Add(e)
		}
		var supports []Extensions
		for needs := range AllExtensions + 1 {
			if core.Supports(needs) {
				supports = append(supports, needs)
			}
		}
		if (core == CoreUnknown) != (len(test.addresses) == 0) || core.Offer() != test.offer || !reflect.DeepEqual(supports, test.supports) {
			t.Errorf("%s: %b offers %q, supports %v; want offer %q, supports %v",
				test.name, core, core.Offer(), supports, test.offer, test.supports)
		}
	}
}

// TestCoreExtensionsZero: without any knowledge of core, no message is refused for lack of an
// extension.
func TestCoreExtensionsZero(t *testing.T) {
	if core := CoreExtensions(0); !core.Supports(AllExtensions) || core.Offer() != AllExtensions {
		t.Error("the zero CoreExtensions does not support everything")
	}
}

// Two cores together support what both support and offer what both offer, whatever their addresses
// are; an unknown one changes nothing.
func TestCoreExtensionsBoth(t *testing.T) {
	var known []CoreExtensions
	for set := 1; set < 1<<(AllExtensions+1); set++ {
		known = append(known, CoreExtensions(set))
	}
	known = append(known, 0)
	for _, c := range known {
		if c.Both(CoreUnknown) != c || CoreUnknown.Both(c) != c {
			t.Errorf("%b with an unknown core is %b", c, c.Both(CoreUnknown))
		}
		for _, d := range known {
			both := c.Both(d)
			if both.Offer() != c.Offer()&d.Offer() {
				t.Errorf("%b and %b offer %v", c, d, both.Offer())
			}
			for needs := range AllExtensions + 1 {
				if both.Supports(needs) != (c.Supports(needs) && d.Supports(needs)) {
					t.Errorf("%b and %b: supports %v is %v", c, d, needs, both.Supports(needs))
				}
			}
		}
	}
	if CoreUnknown.Both(CoreUnknown) != CoreUnknown {
		t.Error("two unknown cores are known")
	}
}

func TestExtensionsKeywords(t *testing.T) {
	for e := range AllExtensions + 1 {
		if got := ParseExtensions(append(e.Keywords(), "PIPELINING")); got != e {
			t.Errorf("%v became %v", e.Keywords(), got)
		}
	}
}
