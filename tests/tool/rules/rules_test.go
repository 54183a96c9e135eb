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
	for _, f := range findings(t, filepath.Join("..", "..", "..")) {
		t.Error(f)
	}
}

// TestRules shows that each rule can fail, and does not where it should not:
// the trees in testdata break one rule each, at the places that the .want file
// beside them lists.
func TestRules(t *testing.T) {
	mods, err := filepath.Glob("testdata/*/go.mod")
	if err != nil || len(mods) < 7 {
		t.Fatalf("%d trees in testdata, error %v; want 7 at least", len(mods), err)
	}
	for _, mod := range mods {
		dir := filepath.Dir(mod)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			got := findings(t, dir)
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

// findings is what all rules say of the tree in dir, sorted.
func findings(t *testing.T, dir string) []string {
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
	var lines []string
	for _, found := range [][]Finding{
		Imports(tree), Purity(tree), Mains(tree), Comments(tree), Names(tree), Top(tree), text,
	} {
		for _, f := range found {
			lines = append(lines, f.String())
		}
	}
	slices.Sort(lines)
	return lines
}
