package rules

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write what is found in testdata into the .want files")

// TestTree holds this tree to all rules.
func TestTree(t *testing.T) {
	for _, f := range findings(t, filepath.Join("..", "..", ".."), order, skipWords) {
		t.Error(f)
	}
}

// TestPureRooms holds the table of pure rooms to rooms that exist.
func TestPureRooms(t *testing.T) {
	for room := range pure {
		if _, known := order.Rooms[room]; !known {
			t.Errorf("the table of pure rooms lists %s, which does not exist; delete it in purity.go", room)
		}
	}
}

// TestRules shows that each rule can fail, and does not where it should not:
// the trees in testdata break one rule each, at the places that the .want file
// beside them lists.
func TestRules(t *testing.T) {
	mods, err := filepath.Glob("testdata/*/go.mod")
	if err != nil || len(mods) < 10 {
		t.Fatalf("%d trees in testdata, error %v; want 10 at least", len(mods), err)
	}
	for _, mod := range mods {
		dir := filepath.Dir(mod)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			got := findings(t, dir, orders[filepath.Base(dir)], isExempt)
			if *rewrite {
				text := strings.Join(got, "\n")
				if text != "" {
					text += "\n"
				}
				if err := os.WriteFile(dir+".want", []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text, err := os.ReadFile(dir + ".want")
			if err != nil {
				t.Fatal(err)
			}
			want := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
			for _, f := range got {
				if !slices.Contains(want, f) {
					t.Errorf("found, not wanted: %s", f)
				}
			}
			for _, f := range want {
				if !slices.Contains(got, f) {
					t.Errorf("wanted, not found: %s", f)
				}
			}
		})
	}
}

// orders are the orders of imports of the trees in testdata. A tree without one has no rule for
// its imports.
var orders = map[string]Order{
	"imports": {
		Rooms: map[string][]string{
			"bgp":                   {},
			"edge":                  {"edge/queue"},
			"edge/delivery/handoff": {"edge/queue"},
			"edge/fleet":            {"edge/mail"},
			"edge/mail":             {},
			"edge/queue":            {"edge/delivery/handoff", "edge/spool"},
			"edge/queue/queuetest":  {"edge/queue", "edge/spool"},
			"edge/spool":            {"edge/mail", "edge/queue"},
			"tests/kit":             {},
			"tests/lab":             {"edge"},
			"tests/soak":            {},
			"tests/soak/load":       {},
		},
		Wings: [][]string{
			{"bgp"}, {"edge/mail"}, {"edge/spool"}, {"edge/queue"}, {"edge/delivery"}, {"edge/fleet"}, {"edge"},
			{"tests/soak", "tests/kit", "tests/lab"},
		},
	},
	"wings": {
		Rooms: map[string][]string{"edge/mail": {}, "xdp": {}},
		Wings: [][]string{{"edge/mail", "edge/secret"}},
	},
}

// findings is what all rules say of the tree in dir, sorted. The words of files for which skip is
// true are not checked.
func findings(t *testing.T, dir string, order Order, skip func(file string) bool) []string {
	t.Helper()
	tree, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Rooms) == 0 {
		t.Fatalf("no Go files in %s", dir)
	}
	text, err := Text(tree)
	if err != nil {
		t.Fatal(err)
	}
	words, err := Words(tree, skip)
	if err != nil {
		t.Fatal(err)
	}
	repeats, err := Repeats(tree)
	if err != nil {
		t.Fatal(err)
	}
	var imports []Finding
	if order.Rooms != nil {
		imports = Imports(tree, order)
	}
	var lines []string
	for _, found := range [][]Finding{
		imports, Purity(tree), Answers(tree), Mains(tree), Comments(tree), Names(tree), Top(tree), Sizes(tree), text, words, repeats,
	} {
		for _, f := range found {
			lines = append(lines, f.String())
		}
	}
	slices.Sort(lines)
	return lines
}
