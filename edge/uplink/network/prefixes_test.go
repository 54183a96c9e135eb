package network

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"anymx/xdp"
)

func TestParsePrefixes(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want string // prefixes in order
		err  string
	}{
		"nothing":         {},
		"comments":        {text: "# all\n\n   \n\t# indented\n", want: ""},
		"prefixes":        {text: "203.0.113.0/24\r\n2001:db8::/32 # why\n198.51.100.7", want: "198.51.100.7/32 203.0.113.0/24 2001:db8::/32"},
		"an address":      {text: "2001:db8::1\n", want: "2001:db8::1/128"},
		"bits behind":     {text: "203.0.113.77/24\n203.0.113.0/24\n", want: "203.0.113.0/24"},
		"all":             {text: "0.0.0.0/0\n::/0\n", want: "0.0.0.0/0 ::/0"},
		"no prefix":       {text: "203.0.113.0/24\n\nsomewhere else\n", err: `list:3: "somewhere else" is neither a prefix nor an address`},
		"a zone":          {text: "fe80::1%eth0\n", err: `list:1: "fe80::1%eth0" is neither`},
		"two versions":    {text: "::ffff:203.0.113.0/120\n", err: "list:1: "},
		"too long":        {text: "203.0.113.0/33\n", err: "list:1: "},
		"two on one line": {text: "203.0.113.0/24 198.51.100.0/24\n", err: "list:1: "},
		"many are wrong":  {text: strings.Repeat("x\n", 9), err: `list:1: "x" is neither a prefix nor an address; list:2: "x" is neither a prefix nor an address; list:3: "x" is neither a prefix nor an address; and 6 more lines`},
		"a long line":     {text: strings.Repeat("x", 1000), err: `list:1: "` + strings.Repeat("x", 64) + `" is`},
	} {
		t.Run(name, func(t *testing.T) {
			list, err := parsePrefixes("list", []byte(test.text))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || list != nil {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			sorted := slices.SortedFunc(maps.Keys(list), netip.Prefix.Compare)
			if got := strings.Trim(fmt.Sprint(sorted), "[]"); err != nil || got != test.want {
				t.Errorf("%s, %v, want %s", got, err, test.want)
			}
		})
	}
}

func TestPrefixesAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range xdp.MaxListed {
		fmt.Fprintf(&b, "10.%d.%d.%d\n", i>>16, i>>8&255, i&255)
	}
	b.WriteString("2001:db8::/32\n") // the other IP version, with its own limit
	list, err := parsePrefixes("list", []byte(b.String()))
	if err != nil || len(list) != xdp.MaxListed+1 {
		t.Fatalf("%d prefixes, %v", len(list), err)
	}
	if err := together(prefixes{netip.MustParsePrefix("2001:db8:1::/48"): {}}, list); err != nil {
		t.Error(err)
	}
	if err := together(prefixes{netip.MustParsePrefix("10.0.0.0/32"): {}}, list); err != nil {
		t.Errorf("one that stands in both: %v", err)
	}
	if err := together(prefixes{netip.MustParsePrefix("192.0.2.0/24"): {}}, list); err == nil || !strings.Contains(err.Error(), "hold 100001 prefixes") {
		t.Errorf("one more: %v", err)
	}
	b.WriteString("192.0.2.0/24\n192.0.2.0/24\n192.0.3.0/24\n")
	if _, err = parsePrefixes("list", []byte(b.String())); err == nil || !strings.HasPrefix(err.Error(), "list:100002: more than 100000") {
		t.Errorf("one too many: %.300v", err)
	}
}

// Any list is either accepted whole or refused with the number of an existing line.
func FuzzParsePrefixes(f *testing.F) {
	for _, seed := range []string{"", "203.0.113.0/24 # x\n::1", "1.2.3.4/\n", "\x00\n/0", "0.0.0.0/0\r\n", "fe80::%1/64"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parsePrefixes("list", text)
		if err != nil {
			var n int
			if _, scanned := fmt.Sscanf(err.Error(), "list:%d: ", &n); scanned != nil || n < 1 || n > strings.Count(string(text), "\n")+1 || list != nil {
				t.Fatalf("error %q of %d lines, %v", err, strings.Count(string(text), "\n"), scanned)
			}
			return
		}
		for p := range list {
			if p != p.Masked() || !p.IsValid() {
				t.Fatalf("%s", p)
			}
			if again, err := parsePrefix(p.String()); err != nil || again != p {
				t.Fatalf("%s is read as %s, %v", p, again, err)
			}
		}
	})
}
