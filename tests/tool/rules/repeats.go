package rules

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// repeatLimit is how many lines two rooms may not have in common. Shorter runs are idioms.
const repeatLimit = 6

// repeat is a pair of files in different rooms whose lines stay the same.
type repeat struct{ a, b, why string }

// repeated are the pairs that stay. Whoever removes the last run of a pair deletes its line.
var repeated = []repeat{
	{"cmd/anymx-bgp/main.go", "edge/config/configtest/sample.go", "the help shows operators an example, which changes for their sake"},
	{"cmd/anymx-bgp/main_test.go", "edge/config/configtest/sample.go", "the cases break single keys of this config, which is shown in full beside them"},
	{"edge/service/clock.go", "edge/uplink/tunnel/watch.go", "a loop on a ticker; the tunnel imports nothing of the node"},
	{"tests/lab/smtp.go", "tests/soak/sender.go", "a 421 is a lost connection to the soak and a node that leaves to the lab"},
}

// Repeats finds runs of lines that two rooms have in common, apart from those in repeated.
func Repeats(t *Tree) ([]Finding, error) {
	runs, err := repeatedRuns(t)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, run := range runs {
		if !slices.ContainsFunc(repeated, run.between) {
			found = append(found, run.finding())
		}
	}
	return found, nil
}

// run is a run of lines that two files share.
type run struct {
	a, b   *code
	ai, bi int // indices of its first lines
	length int
}

func (r run) finding() Finding {
	return Finding{File: r.a.path, Line: r.a.lines[r.ai].number, Text: fmt.Sprintf(
		"these %d lines are also at %s:%d; move them to the room whose noun they are, those of tests to tests/kit, or add the pair to repeated in repeats.go with the reason why both stay",
		r.length, r.b.path, r.b.lines[r.bi].number)}
}

// between reports whether r lies between the files of pair.
func (r run) between(pair repeat) bool {
	return r.a.path == pair.a && r.b.path == pair.b || r.a.path == pair.b && r.b.path == pair.a
}

// overlaps reports whether r and other, of the same two files, share lines in both.
func (r run) overlaps(other run) bool {
	meet := func(i, j int) bool { return i < j+other.length && j < i+r.length }
	return r.a == other.a && r.b == other.b && meet(r.ai, other.ai) && meet(r.bi, other.bi)
}

// code is what counts of one file.
type code struct {
	path  string
	lines []codeLine
}

type codeLine struct {
	text   string
	number int
}

// repeatedRuns are all runs that two rooms share, each as long as it can be, the longest first.
func repeatedRuns(t *Tree) ([]run, error) {
	type place struct {
		code *code
		i    int
	}
	places := map[[repeatLimit]string][]place{}
	var runs []run
	for _, room := range t.Rooms {
		for _, source := range room.Sources {
			if ast.IsGenerated(source.File) {
				continue
			}
			b, err := t.code(source)
			if err != nil {
				return nil, err
			}
			for i := 0; i+repeatLimit <= len(b.lines); i++ {
				var window [repeatLimit]string
				for n := range window {
					window[n] = b.lines[i+n].text
				}
				for _, p := range places[window] {
					if path.Dir(p.code.path) != room.Path && !(p.i > 0 && i > 0 && p.code.lines[p.i-1].text == b.lines[i-1].text) {
						runs = append(runs, run{p.code, b, p.i, i, common(p.code.lines[p.i:], b.lines[i:])})
					}
				}
				places[window] = append(places[window], place{b, i})
			}
		}
	}
	slices.SortStableFunc(runs, func(a, b run) int { return cmp.Compare(b.length, a.length) })
	var longest []run
	for _, r := range runs {
		if !slices.ContainsFunc(longest, r.overlaps) {
			longest = append(longest, r)
		}
	}
	return longest, nil
}

// common is how many lines a and b begin with in common.
func common(a, b []codeLine) int {
	n := 0
	for n < len(a) && n < len(b) && a[n].text == b[n].text {
		n++
	}
	return n
}

// code returns the lines of source that count: neither the package clause nor imports, and no
// lines that are blank, a comment, or closing brackets alone.
func (t *Tree) code(source *Source) (*code, error) {
	text, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(source.Path)))
	if err != nil {
		return nil, err
	}
	skip := map[int]bool{}
	mark := func(from, to token.Pos) {
		for n := t.set.Position(from).Line; n <= t.set.Position(to).Line; n++ {
			skip[n] = true
		}
	}
	mark(source.Package, source.Name.End())
	for _, decl := range source.Decls {
		if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.IMPORT {
			mark(g.Pos(), g.End())
		}
	}
	lines := strings.Split(string(text), "\n")
	for _, group := range source.Comments {
		for _, comment := range group.List {
			start := t.set.Position(comment.Pos())
			if strings.TrimSpace(lines[start.Line-1][:start.Column-1]) == "" {
				mark(comment.Pos(), comment.End())
			}
		}
	}
	c := &code{path: source.Path}
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if !skip[i+1] && strings.Trim(line, ")]},;") != "" {
			c.lines = append(c.lines, codeLine{line, i + 1})
		}
	}
	return c, nil
}
