package network

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/refusal"
	"anymx/xdp"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// newLists returns lists with files of these texts.
func newLists(t *testing.T, allowed, blocked string) *lists {
	t.Helper()
	dir := t.TempDir()
	l := openLists(listFile(filepath.Join(dir, "net", "lists.json")), slog.New(slog.DiscardHandler), noon)
	allow, block := filepath.Join(dir, "allowed"), filepath.Join(dir, "blocked")
	rewrite(t, allow, allowed)
	rewrite(t, block, blocked)
	var err error
	if l.allow, l.block, err = l.prepare(allow, block); err != nil {
		t.Fatal(err)
	}
	return l
}

// rewrite replaces the file at path.
func rewrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestWhoSaysComesFirst(t *testing.T) {
	l := newLists(t, "192.0.2.1\n192.0.2.2\n", "192.0.2.2\n192.0.2.3\n192.0.2.4\n")
	for _, e := range []api.ShieldEntry{{Prefix: prefix("192.0.2.1/32")}, {Prefix: prefix("192.0.2.3/32"), Allowed: true, Until: noon.Add(time.Hour)}} {
		if _, err := l.list(e, noon); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, e := range l.entries([]xdp.Listed{{Prefix: prefix("192.0.2.4/32")}, {Prefix: prefix("192.0.2.5/32")}}) {
		got = append(got, fmt.Sprint(e.Prefix.Addr(), " ", e.Allowed, " ", filepath.Base(e.Source)))
	}
	want := []string{"192.0.2.1 false command", "192.0.2.2 true allowed", "192.0.2.3 true command", "192.0.2.4 false blocked", "192.0.2.5 false unknown"}
	if !slices.Equal(got, want) {
		t.Errorf("entries %q, want %q", got, want)
	}
	if n := l.count(0); n != 4 {
		t.Errorf("%d prefixes", n)
	}
	// The entry of a command expires, and the file's entry counts again.
	if touched, _ := l.look(noon.Add(time.Hour)); !slices.Equal(touched, []netip.Prefix{prefix("192.0.2.3/32")}) {
		t.Errorf("touched %v", touched)
	}
	if e, _ := l.of(prefix("192.0.2.3/32")); e.Allowed || e.Source != l.block.path {
		t.Errorf("%+v", e)
	}
}

func TestDifferences(t *testing.T) {
	l := newLists(t, "192.0.2.1\n", "192.0.2.2\n192.0.2.3\n")
	until := noon.Add(time.Hour)
	if _, err := l.list(api.ShieldEntry{Prefix: prefix("192.0.2.4/32"), Until: until}, noon); err != nil {
		t.Fatal(err)
	}
	have := []xdp.Listed{
		{Prefix: prefix("192.0.2.1/32"), Allowed: true},
		{Prefix: prefix("192.0.2.2/32")},
		{Prefix: prefix("192.0.2.3/32")},
		{Prefix: prefix("192.0.2.4/32"), Until: until.Add(10 * time.Millisecond)},
	}
	if d := l.differences(have); len(d) != 0 {
		t.Errorf("differences %v", d)
	}
	for name, change := range map[string]func(h []xdp.Listed) []xdp.Listed{
		"192.0.2.1/32": func(h []xdp.Listed) []xdp.Listed { h[0].Allowed = false; return h },
		"192.0.2.2/32": func(h []xdp.Listed) []xdp.Listed { h[1].Until = until; return h },
		"192.0.2.3/32": func(h []xdp.Listed) []xdp.Listed { return slices.Delete(h, 2, 3) },
		"192.0.2.4/32": func(h []xdp.Listed) []xdp.Listed { h[3].Until = until.Add(time.Minute); return h },
		"192.0.2.5/32": func(h []xdp.Listed) []xdp.Listed { return append(h, xdp.Listed{Prefix: prefix("192.0.2.5/32")}) },
	} {
		if d := l.differences(change(slices.Clone(have))); len(d) != 1 || d[0].String() != name {
			t.Errorf("differences %v, want %s", d, name)
		}
	}
	l.block.good = false
	if d := l.differences(append(have, xdp.Listed{Prefix: prefix("192.0.2.5/32")})); len(d) != 0 {
		t.Errorf("what may come from a file that was never read goes: %v", d)
	}
}

func TestFilesAreTakenWholeOrNotAtAll(t *testing.T) {
	l := newLists(t, "", "192.0.2.1\n192.0.2.2\n")
	look := func(want ...string) {
		t.Helper()
		touched, first := l.look(noon)
		var got []string
		for _, p := range touched {
			got = append(got, p.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || first {
			t.Errorf("touched %q, want %q; the first time %v", got, want, first)
		}
	}
	look()
	rewrite(t, l.block.path, "192.0.2.2\n192.0.2.3\n")
	look("192.0.2.1/32", "192.0.2.3/32")
	look()
	rewrite(t, l.block.path, "192.0.2.9\nx\n")
	look()
	if err := l.problem(); err == nil || !strings.Contains(err.Error(), "shield.block_file: "+l.block.path+`:2: "x"`) || len(l.block.list) != 2 {
		t.Errorf("problem %v, list %v", err, l.block.list)
	}
	if err := os.Remove(l.block.path); err != nil {
		t.Fatal(err)
	}
	look()
	if err := l.problem(); err == nil || !strings.Contains(err.Error(), "no such file") || len(l.block.list) != 2 {
		t.Errorf("problem %v, list %v", err, l.block.list)
	}
	if _, _, err := l.prepare(l.allow.path, l.block.path+"2"); err == nil {
		t.Error("a new file that isn't there is taken")
	}
	rewrite(t, l.block.path, "192.0.2.3\n")
	look("192.0.2.2/32")
	if err := l.problem(); err != nil {
		t.Error(err)
	}
}

func TestKept(t *testing.T) {
	l := newLists(t, "", "192.0.2.1\n")
	put := func(e api.ShieldEntry, says string) {
		t.Helper()
		_, err := l.list(e, noon)
		var refused *refusal.Error
		switch {
		case says == "" && err != nil:
			t.Error(err)
		case says != "" && (!errors.As(err, &refused) || refused.Kind != refusal.Invalid || !strings.Contains(err.Error(), says)):
			t.Errorf("%v, want %q", err, says)
		}
	}
	put(api.ShieldEntry{Prefix: prefix("203.0.113.0/24"), Until: noon.Add(time.Minute), Reason: "déjà vu", Source: "me"}, "")
	put(api.ShieldEntry{Prefix: prefix("2001:db8::1/32"), Allowed: true}, "")
	put(api.ShieldEntry{}, "can't be listed")
	put(api.ShieldEntry{Prefix: prefix("203.0.113.0/24"), Until: noon}, "is in the past")
	put(api.ShieldEntry{Prefix: prefix("203.0.113.0/24"), Reason: "a\rb"}, "one line")
	put(api.ShieldEntry{Prefix: prefix("203.0.113.0/24"), Reason: "\xff"}, "one line")
	put(api.ShieldEntry{Prefix: prefix("203.0.113.0/24"), Reason: strings.Repeat("x", 201)}, "200 bytes")
	if removed, err := l.unlist(prefix("192.0.2.1/32")); removed || err == nil || !strings.Contains(err.Error(), "is listed in the file "+l.block.path) {
		t.Errorf("%v, %v", removed, err)
	}
	if removed, err := l.unlist(prefix("192.0.2.77/32")); removed || err != nil {
		t.Errorf("%v, %v", removed, err)
	}

	again, err := l.store.load(noon)
	if err != nil || len(again) != 2 || again[prefix("203.0.113.0/24")] != (api.ShieldEntry{Prefix: prefix("203.0.113.0/24"), Until: noon.Add(time.Minute), Reason: "déjà vu", Source: "command"}) || !again[prefix("2001:db8::/32")].Allowed {
		t.Errorf("%+v, %v", again, err)
	}
	if again, err = l.store.load(noon.Add(time.Minute)); err != nil || len(again) != 1 {
		t.Errorf("a minute later: %+v, %v", again, err)
	}
	if leftovers, err := filepath.Glob(string(l.store) + ".*"); err != nil || len(leftovers) > 0 {
		t.Errorf("%v, %v", leftovers, err)
	}

	// A failed write changes nothing.
	dir := filepath.Dir(string(l.store))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	rewrite(t, dir, "in the way")
	if _, err := l.list(api.ShieldEntry{Prefix: prefix("192.0.2.9/32")}, noon); err == nil || len(l.byCommand) != 2 {
		t.Errorf("%v, %+v", err, l.byCommand)
	}
	if _, err := l.unlist(prefix("2001:db8::/32")); err == nil || len(l.byCommand) != 2 {
		t.Errorf("%v, %+v", err, l.byCommand)
	}
}

func TestKeptIsBounded(t *testing.T) {
	l := newLists(t, "", "")
	for i := range maxEntries {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
		l.byCommand[p] = api.ShieldEntry{Prefix: p}
	}
	if _, err := l.list(api.ShieldEntry{Prefix: prefix("10.0.0.1/32"), Allowed: true}, noon); err != nil {
		t.Error(err)
	}
	if _, err := l.list(api.ShieldEntry{Prefix: prefix("192.0.2.0/24")}, noon); err == nil || !strings.Contains(err.Error(), "use a file instead") {
		t.Error(err)
	}
}

func TestCorruptKept(t *testing.T) {
	for name, test := range map[string]struct{ text, says string }{
		"empty":            {"", "unexpected end"},
		"torn":             {`{"version":1,"entries":[{"pre`, "unexpected end"},
		"another version":  {`{"version":2}`, "unknown version 2"},
		"no prefix":        {`{"version":1,"entries":[{}]}`, "entry 0: "},
		"a bad prefix":     {`{"version":1,"entries":[{"prefix":"somewhere"}]}`, "somewhere"},
		"too many entries": {`{"version":1,"entries":[` + strings.Repeat(`{},`, maxEntries) + `{}]}`, "more than 10000"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "lists.json")
			rewrite(t, file, test.text)
			l := openLists(listFile(file), slog.New(slog.DiscardHandler), noon)
			if err := l.problem(); err == nil || !strings.Contains(err.Error(), test.says) || len(l.byCommand) > 0 || l.sure() {
				t.Errorf("problem %v, by command %v, sure %v", err, l.byCommand, l.sure())
			}
			if aside, err := os.ReadFile(file + ".corrupt"); err != nil || string(aside) != test.text {
				t.Errorf("put aside: %v", err)
			}
			if _, err := l.list(api.ShieldEntry{Prefix: prefix("192.0.2.0/24")}, noon); err != nil {
				t.Error(err)
			}
		})
	}
}
