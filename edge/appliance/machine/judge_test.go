package machine

import (
	"net/netip"
	"testing"
	"time"

	"anymx/edge/appliance/slot"
	"anymx/edge/operate/api"
)

// tableOf returns the table of a machine that runs 0.5.0 and has another version in the other slot;
// "" means none.
func tableOf(other string, left int) *slot.Table {
	entry := func(v string, left int) *slot.Entry { return &slot.Entry{Version: v, Left: left} }
	t := &slot.Table{Version: "0.5.0", RootHash: hashes["0.5.0"], Slots: []slot.Slot{{Version: "0.5.0", Running: true, Entry: entry("0.5.0", 2)}, {Version: other}}}
	if other != "" {
		t.Slots[1].Entry = entry(other, left)
	}
	return t
}

func TestMayRetreat(t *testing.T) {
	confirmed := confirmedList{{Version: "0.5.0", RootHash: hashes["0.5.0"]}}
	from := func(v string, edge bool) *record { return &record{Version: "0.5.0", From: v, Edge: edge} }
	for name, test := range map[string]struct {
		table     *slot.Table
		last      *record
		confirmed confirmedList
		want      bool
	}{
		"fresh, alone":                     {table: tableOf("", 0)},
		"updated":                          {table: tableOf("0.4.0", 3), last: from("0.4.0", true), want: true},
		"updated, confirmed":               {table: tableOf("0.4.0", 3), last: from("0.4.0", true), confirmed: confirmed},
		"updated, nothing ran before":      {table: tableOf("0.4.0", 3), last: from("0.4.0", false)},
		"another root with this version":   {table: tableOf("0.4.0", 3), last: from("0.4.0", true), confirmed: confirmedList{{Version: "0.5.0", RootHash: "x"}}, want: true},
		"back from one that failed":        {table: tableOf("0.6.0", 0), last: &record{Version: "0.6.0", From: "0.5.0", Edge: true}},
		"older, on request":                {table: tableOf("0.6.0", 0), last: from("0.6.0", true), want: true},
		"older, and the other was changed": {table: tableOf("0.7.0", 0), last: from("0.6.0", true)},
		"staged beside it":                 {table: tableOf("0.6.0", 3), last: &record{Version: "0.6.0", From: "0.5.0", Edge: true}, want: true},
		"no entry":                         {table: func() *slot.Table { t := tableOf("0.4.0", 3); t.Slots[1].Entry = nil; return t }(), last: from("0.4.0", true)},
		"one slot":                         {table: func() *slot.Table { t := tableOf("", 0); t.Slots = t.Slots[:1]; return t }()},
	} {
		if got := mayRetreat(test.table, test.last, test.confirmed); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestOutcome(t *testing.T) {
	now := time.Unix(1795000000, 0)
	confirmed := confirmedList{{Version: "0.5.0", RootHash: hashes["0.5.0"]}}
	to := func(v, from, outcome string) *record { return &record{Version: v, From: from, Outcome: outcome} }
	for name, test := range map[string]struct {
		table     *slot.Table
		last      *record
		confirmed confirmedList
		want      string
	}{
		"no update":               {table: tableOf("", 0)},
		"staged":                  {table: tableOf("0.6.0", 3), last: to("0.6.0", "0.5.0", outcomeStaged)},
		"booted":                  {table: tableOf("0.4.0", 3), last: to("0.5.0", "0.4.0", outcomeStaged), want: outcomeBooted},
		"booted again":            {table: tableOf("0.4.0", 3), last: to("0.5.0", "0.4.0", outcomeBooted)},
		"confirmed":               {table: tableOf("0.4.0", 3), last: to("0.5.0", "0.4.0", outcomeBooted), confirmed: confirmed, want: outcomeConfirmed},
		"confirmed before":        {table: tableOf("0.4.0", 3), last: to("0.5.0", "0.4.0", outcomeConfirmed), confirmed: confirmed},
		"back":                    {table: tableOf("0.6.0", 0), last: to("0.6.0", "0.5.0", outcomeBooted), want: outcomeBack},
		"back, it never came up":  {table: tableOf("0.6.0", 0), last: to("0.6.0", "0.5.0", outcomeStaged), want: outcomeBack},
		"power cut while writing": {table: tableOf("", 0), last: to("0.6.0", "0.5.0", outcomeWriting)},
	} {
		got := outcome(test.table, test.last, test.confirmed, now)
		switch {
		case test.want == "" && got == nil:
		case got == nil || got.Outcome != test.want:
			t.Errorf("%s: %+v, want %q", name, got, test.want)
		case got.Ended.IsZero() != (got.Outcome == outcomeBooted):
			t.Errorf("%s: ended %v", name, got.Ended)
		}
	}
}

func TestPeersLack(t *testing.T) {
	a, b, c := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2"), netip.MustParseAddr("198.51.100.3")
	up := func(addrs ...netip.Addr) *api.SpeakerStatus {
		s := &api.SpeakerStatus{}
		for _, one := range []netip.Addr{a, b} {
			p := api.SpeakerPeer{Address: one, State: "Connect", LastError: "refused"}
			for _, is := range addrs {
				if is == one {
					p.State, p.LastError = "Established", ""
				}
			}
			s.Peers = append(s.Peers, p)
		}
		return s
	}
	before := func(addrs ...netip.Addr) *record { return &record{Version: "0.5.0", Peers: addrs} }
	for name, test := range map[string]struct {
		last *record
		now  *api.SpeakerStatus
		want string
	}{
		"all":                           {before(a, b), up(a, b), ""},
		"one of two":                    {before(a, b), up(a), "BGP: sessions established before the update are missing: 198.51.100.2 is Connect (refused)"},
		"the one that there was":        {before(a), up(a), ""},
		"another one":                   {before(a), up(b), "BGP: sessions established before the update are missing: 198.51.100.1 is Connect (refused)"},
		"there were none":               {before(), up(), ""},
		"it is configured no more":      {before(a, c), up(a), ""},
		"no record":                     {nil, up(b), ""},
		"no record, none":               {nil, up(), "BGP: no session is established yet"},
		"record of another version":     {&record{Version: "0.6.0", Peers: []netip.Addr{a}}, up(b), ""},
		"no record, no peer configured": {nil, &api.SpeakerStatus{}, ""},
	} {
		if got := peersLack(test.last, "0.5.0", test.now); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestConfirmedList(t *testing.T) {
	r := records{t.TempDir()}
	for i := range maxConfirmed + 3 {
		if err := r.addConfirmed(confirmedVersion{Version: "1", RootHash: string(rune('a' + i))}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.confirmed()
	if err != nil || len(list) != maxConfirmed || list.has("1", "a") || !list.has("1", "s") {
		t.Errorf("%+v, %v", list, err)
	}
	if err := r.file(confirmedFile).Write([]byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.confirmed(); err == nil {
		t.Error("a damaged file was read")
	}
}
