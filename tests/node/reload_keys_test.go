package node

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"anymx/edge/config"
)

// reloadTables are the tests that change keys of a running program one by one, with a case for each
// key. A case is a composite literal with a field "key" or "Key".
var reloadTables = []struct{ room, test, cases string }{
	{"tests/node", "TestReloadTakesEffect", "reloadCases"},
	{"tests/node", "TestReloadedDrain", "drainCases"},
	{"tests/node", "TestReloadedProbe", "probeCases"},
	{"tests/anycast", "TestReloadTakesEffect", "reloadCases"},
	{"tests/network", "TestReloadTakesEffect", "networkCases"},
	{"tests/network", "TestShieldReloadTakesEffect", "shieldCases"},
}

// reloadTests are the tests that change a key of a running program among other things. Each has the
// text sets in one of its strings, or sets a field of that name.
var reloadTests = []struct{ key, room, test, sets string }{
	{"node.shutdown_grace", "tests/node", "TestReloadedGrace", "shutdown_grace"},
	{"domain.core", "edge", "TestMailToCoreGroups", "core = "},
	{"console.mode", "cmd/anymx", "TestConsoleModes", "mode = 'view'"},
	{"console.idle_timeout", "cmd/anymx", "TestConsoleIdleChanges", "idle_timeout"},
	{"anycast.prefixes", "tests/anycast", "TestReload", "prefixes"},
	{"bgp.peer.address", "tests/anycast", "TestReload", "routers"},
	{"bgp.peer.communities", "tests/anycast", "TestReload", "communities"},
}

// withoutEffect are the keys that no program uses yet.
var withoutEffect = []string{
	"egress.source.name", // for the pools of the outbound half
}

// Each key that a reload changes is in exactly one of the lists, and what the lists name exists.
func TestReloadCasesComplete(t *testing.T) {
	covered := map[string][]string{}
	for _, table := range reloadTables {
		room := parseTests(t, table.room)
		if !room.uses(table.test, table.cases) {
			t.Errorf("%s has no test %s that goes through %s", table.room, table.test, table.cases)
		}
		for _, key := range room.keys(table.cases) {
			covered[key] = append(covered[key], table.room+" "+table.test)
		}
	}
	for _, row := range reloadTests {
		if room := parseTests(t, row.room); room.funcs[row.test] == nil {
			t.Errorf("%s: %s has no test %s", row.key, row.room, row.test)
		} else if !room.mentions(row.test, row.sets) {
			t.Errorf("%s: %s of %s never sets %s", row.key, row.test, row.room, row.sets)
		}
		covered[row.key] = append(covered[row.key], row.room+" "+row.test)
	}
	for _, key := range withoutEffect {
		covered[key] = append(covered[key], "none")
	}
	reloadable := reloadableKeys(config.Describe())
	for _, key := range reloadable {
		if tests := covered[key]; len(tests) != 1 {
			t.Errorf("%s changes by reload, and must have one test that changes it in a running program; it has %q", key, tests)
		}
	}
	for key := range covered {
		if !slices.Contains(reloadable, key) {
			t.Errorf("%s is listed, and is not a key that changes by reload", key)
		}
	}
}

// reloadableKeys returns the keys of a section and those inside it that a reload changes.
func reloadableKeys(s config.Section) []string {
	var keys []string
	for _, k := range s.Keys {
		if k.Change == config.ChangeReload {
			keys = append(keys, s.Path+"."+k.Name)
		}
	}
	for _, sub := range s.Inside {
		keys = append(keys, reloadableKeys(sub)...)
	}
	return keys
}

// testRoom is the source of a room's tests.
type testRoom struct {
	funcs  map[string]*ast.FuncDecl
	values map[string]ast.Expr // of variables of the package
}

// parseTests reads the tests of a room.
func parseTests(t *testing.T, room string) testRoom {
	t.Helper()
	dir := filepath.Join("../..", filepath.FromSlash(room))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := testRoom{funcs: map[string]*ast.FuncDecl{}, values: map[string]ast.Expr{}}
	set := token.NewFileSet()
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, filepath.Join(dir, entry.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			r.add(decl)
		}
	}
	return r
}

func (r testRoom) add(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			r.funcs[d.Name.Name] = d
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if v, ok := spec.(*ast.ValueSpec); ok && len(v.Values) == len(v.Names) {
				for i, name := range v.Names {
					r.values[name.Name] = v.Values[i]
				}
			}
		}
	}
}

// uses reports whether a test exists and names a variable.
func (r testRoom) uses(test, variable string) bool {
	found := false
	if f := r.funcs[test]; f != nil {
		ast.Inspect(f.Body, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			found = found || ok && id.Name == variable
			return !found
		})
	}
	return found
}

// mentions reports whether a test has a text in one of its strings or the fields that it sets.
func (r testRoom) mentions(test, text string) bool {
	found := false
	ast.Inspect(r.funcs[test].Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			found = found || strings.Contains(n.Value, text)
		case *ast.KeyValueExpr:
			id, ok := n.Key.(*ast.Ident)
			found = found || ok && id.Name == text
		}
		return !found
	})
	return found
}

// keys returns the fields "key" or "Key" in the value of a variable.
func (r testRoom) keys(variable string) []string {
	var keys []string
	if value := r.values[variable]; value != nil {
		ast.Inspect(value, func(n ast.Node) bool {
			if pair, ok := n.(*ast.KeyValueExpr); ok {
				name, isName := pair.Key.(*ast.Ident)
				text, isText := pair.Value.(*ast.BasicLit)
				if isName && isText && strings.EqualFold(name.Name, "key") {
					if key, err := strconv.Unquote(text.Value); err == nil {
						keys = append(keys, key)
					}
				}
			}
			return true
		})
	}
	return keys
}
