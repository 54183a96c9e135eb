package rules

import (
	"go/ast"
	"path"
	"slices"
	"strings"
)

// pure are the rooms that do no I/O, read no clock and start no goroutine:
// time comes in as an argument. A file that is the one exception of a
// room is named with the packages that it may import beyond the rest.
var pure = map[string]map[string][]string{
	"edge/config":           {"config.go": {"os"}}, // Load reads the one file
	"edge/mail":             {},
	"edge/judge/policy":     {},
	"edge/delivery/routing": {},
	"edge/refusal":          {},
}

// effects are the standard packages that talk to the world. What lies below
// them counts too, except what harmless names.
var (
	effects  = []string{"database/sql", "io/ioutil", "log", "net", "os", "plugin", "syscall", "testing", "golang.org/x/sys", "golang.org/x/net"}
	harmless = []string{"net/mail", "net/netip", "net/textproto", "net/url", "golang.org/x/net/idna"}
)

// sums are the functions of an effectful package that only take values and
// return values. A pure room may import the package for their sake.
var sums = map[string][]string{"net": {"JoinHostPort", "SplitHostPort"}}

// clock is what reads or waits on the clock in package time.
var clock = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

// Purity holds the pure rooms pure, tests apart. A room's subfolders, such as
// edge/judge/policy/checks, are rooms of their own.
func Purity(t *Tree) []Finding {
	var found []Finding
	for _, room := range t.Rooms {
		except, held := pure[room.Path]
		if !held {
			continue
		}
		for _, source := range room.Sources {
			if source.Test {
				continue
			}
			found = append(found, t.impureImports(source, except[path.Base(source.Path)])...)
			found = append(found, t.impureCode(source)...)
		}
	}
	return found
}

func (t *Tree) impureImports(source *Source, except []string) []Finding {
	var found []Finding
	for _, spec := range source.Imports {
		name := importPath(spec)
		in := func(dir string) bool { return below(name, dir) }
		switch {
		case !slices.ContainsFunc(effects, in), slices.ContainsFunc(harmless, in), slices.Contains(except, name):
		case sums[name] != nil:
			uses(source, name, func(sel *ast.SelectorExpr) {
				if !slices.Contains(sums[name], sel.Sel.Name) {
					found = append(found, t.at(sel.Pos(), "a pure room uses %s.%s", name, sel.Sel.Name))
				}
			})
		default:
			found = append(found, t.at(spec.Pos(), "a pure room imports %s", name))
		}
	}
	return found
}

func (t *Tree) impureCode(source *Source) []Finding {
	var found []Finding
	ast.Inspect(source.File, func(n ast.Node) bool {
		if n, ok := n.(*ast.GoStmt); ok {
			found = append(found, t.at(n.Pos(), "a pure room starts a goroutine"))
		}
		return true
	})
	// time.Now handed on as a value counts as much as a call of it.
	uses(source, "time", func(sel *ast.SelectorExpr) {
		if slices.Contains(clock, sel.Sel.Name) {
			found = append(found, t.at(sel.Pos(), "a pure room uses time.%s: take the time as an argument", sel.Sel.Name))
		}
	})
	return found
}

// uses yields each mention in source of something out of the package that it
// imports by path.
func uses(source *Source, importedPath string, yield func(*ast.SelectorExpr)) {
	local := localName(source, importedPath)
	if local == "" {
		return
	}
	ast.Inspect(source.File, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local {
				yield(sel)
			}
		}
		return true
	})
}

// localName is what source calls the package that it imports by path, "" if
// it does not import it.
func localName(source *Source, importedPath string) string {
	for _, spec := range source.Imports {
		if importPath(spec) != importedPath {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return importedPath[strings.LastIndexByte(importedPath, '/')+1:]
	}
	return ""
}
