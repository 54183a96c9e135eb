package xdp

import (
	"net/netip"
	"slices"
	"testing"
)

// with returns f with a change.
func with(f frame, change func(*frame)) frame {
	change(&f)
	return f
}

func TestVerdicts(t *testing.T) {
	s4, s6 := synTo(mail4), synTo(mail6)
	flags := func(flags byte) frame { return with(s4, func(f *frame) { f.flags = flags }) }
	from := func(a string) frame { return with(s4, func(f *frame) { f.from = addr(a) }) }
	from6 := func(a string) frame { return with(s6, func(f *frame) { f.from = addr(a) }) }
	chain := func(types ...byte) frame { return with(s6, func(f *frame) { f.extensions = types }) }
	settings := Settings{Services: three, Cookies: Always}
	s := configured(t, Options{}, settings)
	lists := []Listed{{Prefix: netip.MustParsePrefix("203.0.113.128/25")}, {Prefix: netip.MustParsePrefix("203.0.113.140/32"), Allowed: true}}
	for _, l := range lists {
		if err := s.list(l); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		frame frame
		want  Verdict
	}{
		"SYN":                        {s4, SYNAnswered},
		"SYN, IPv6":                  {s6, SYNAnswered},
		"SYN with data":              {with(s4, func(f *frame) { f.payload = []byte("EHLO") }), SYNAnswered},
		"SYN with ECN":               {flags(syn | 0xc0), SYNAnswered},
		"second port":                {with(s4, func(f *frame) { f.dport = 8025 }), SYNAnswered},
		"SYN in VLAN":                {with(s4, func(f *frame) { f.tags = []uint16{0x8100} }), SYNAnswered},
		"SYN in QinQ":                {with(s6, func(f *frame) { f.tags = []uint16{0x88a8, 0x8100} }), SYNAnswered},
		"three tags":                 {with(s4, func(f *frame) { f.tags = []uint16{0x88a8, 0x8100, 0x8100} }), Unparsable},
		"IPv4 options":               {with(s4, func(f *frame) { f.ipOptions = make([]byte, 40) }), SYNAnswered},
		"IPv6 extensions":            {chain(0, 60, 43, 51), SYNAnswered},
		"eight extensions":           {chain(60, 60, 60, 60, 60, 60, 60, 60), SYNAnswered},
		"nine extensions":            {chain(60, 60, 60, 60, 60, 60, 60, 60, 60), Unparsable},
		"fragment":                   {with(s4, func(f *frame) { f.fragment = 0x2000 }), Fragment},
		"last fragment":              {with(s4, func(f *frame) { f.fragment = 100 }), Fragment},
		"don't fragment":             {with(s4, func(f *frame) { f.fragment = 0x4000 }), SYNAnswered},
		"IPv6 fragment":              {chain(60, 44), Fragment},
		"other address":              {with(s4, func(f *frame) { f.to = addr("192.0.2.99") }), Other},
		"other address, fragment":    {with(s4, func(f *frame) { f.to, f.fragment = addr("192.0.2.99"), 1 }), Other},
		"other address, nonsense":    {with(s6, func(f *frame) { f.to, f.flags = addr("2001:db8::1"), syn|fin }), Other},
		"other port":                 {with(s4, func(f *frame) { f.dport = 80 }), Unserved},
		"port of another service":    {with(s4, func(f *frame) { f.dport = 1 }), Unserved},
		"last port of eight":         {with(s4, func(f *frame) { f.to, f.dport = other.Address, 8 }), SYNAnswered},
		"port 0":                     {with(s4, func(f *frame) { f.dport = 0 }), Unserved},
		"from port 0":                {with(s4, func(f *frame) { f.sport = 0 }), Malformed},
		"UDP":                        {with(s4, func(f *frame) { f.proto = 17 }), Unserved},
		"ICMP":                       {with(s4, func(f *frame) { f.proto = 1 }), NotTCP},
		"ICMPv6":                     {with(s6, func(f *frame) { f.proto = 58 }), NotTCP},
		"no flags":                   {flags(0), Malformed},
		"FIN alone":                  {flags(fin), Malformed},
		"FIN, PSH, URG":              {flags(fin | psh | urg), Malformed},
		"SYN and FIN":                {flags(syn | fin), Malformed},
		"SYN and RST":                {flags(syn | rst), Malformed},
		"RST and FIN":                {flags(rst | fin | ack), Malformed},
		"all flags":                  {flags(0x3f), Malformed},
		"short header":               {with(s4, func(f *frame) { f.doff = 4 }), Malformed},
		"header beyond the packet":   {with(s4, func(f *frame) { f.doff, f.pad = 6, 40 }), Malformed},
		"from itself":                {from(mail4.Address.String()), Malformed},
		"from loopback":              {from("127.0.0.1"), Malformed},
		"from multicast":             {from("224.0.0.5"), Malformed},
		"from broadcast":             {from("255.255.255.255"), Malformed},
		"from this network":          {from("0.1.2.3"), Malformed},
		"from itself, IPv6":          {from6(mail6.Address.String()), Malformed},
		"from loopback, IPv6":        {from6("::1"), Malformed},
		"from multicast, IPv6":       {from6("ff02::1"), Malformed},
		"from a mapped address":      {from6("::ffff:192.0.2.1"), Malformed},
		"SYN-ACK from nowhere":       {flags(syn | ack), Bogus},
		"RST from nowhere":           {flags(rst), Bogus},
		"ACK from nowhere":           {flags(ack), Bogus},
		"data from nowhere":          {with(flags(ack|psh), func(f *frame) { f.payload = []byte("DATA") }), Bogus},
		"blocked":                    {from("203.0.113.130"), Blocked},
		"blocked ACK":                {with(from("203.0.113.130"), func(f *frame) { f.flags = ack }), Blocked},
		"blocked ICMP":               {with(from("203.0.113.130"), func(f *frame) { f.proto = 1 }), Blocked},
		"allowed in what is blocked": {from("203.0.113.140"), SYNAnswered},
	} {
		t.Run(name, func(t *testing.T) {
			count := watch(t, s)
			b := c.frame.bytes()
			action, _ := run(t, s.shield, b)
			got, size := count.next(t)
			if got != c.want || size != uint64(len(b)) {
				t.Errorf("%s of %d bytes, not %s of %d", got, size, c.want, len(b))
			}
			m := model{settings: settings, lists: lists}
			if action != m.action(c.want) {
				t.Errorf("action %d, not %d", action, m.action(c.want))
			}
			if said, _ := m.verdict(b); said != c.want {
				t.Errorf("the model says %s, not %s", said, c.want)
			}
		})
	}
}

func TestGroupAddressIsMalformed(t *testing.T) {
	s := configured(t, Options{}, Settings{Services: three, Cookies: Always})
	b := synTo(mail4).bytes()
	copy(b, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	count := watch(t, s)
	run(t, s.shield, b)
	if got, _ := count.next(t); got != Malformed {
		t.Errorf("a broadcast SYN is %s", got)
	}
}

func TestUnconfiguredShieldPassesEverything(t *testing.T) {
	s := open(t, Options{})
	if action, _ := run(t, s.shield, with(synTo(mail4), func(f *frame) { f.flags = syn | fin }).bytes()); action != xdpPass {
		t.Errorf("action %d", action)
	}
	st, err := s.Status()
	if err != nil || st.Problem == "" {
		t.Errorf("no problem is told: %+v, %v", st, err)
	}
}

func TestVerdictNamesAreLabels(t *testing.T) {
	seen := map[string]bool{}
	for v := range verdicts {
		name := v.String()
		bad := slices.ContainsFunc([]byte(name), func(c byte) bool { return c != '-' && (c < 'a' || c > 'z') })
		if name == "" || bad || seen[name] {
			t.Errorf("verdict %d is called %q", v, name)
		}
		seen[name] = true
	}
	if got := verdicts.String(); got != "verdict-18" {
		t.Errorf("an unknown verdict is called %q", got)
	}
}
