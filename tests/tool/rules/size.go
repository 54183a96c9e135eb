package rules

import (
	"fmt"
	"go/ast"
	"strings"
)

// What is longer is hard to keep in mind: it is usually two. The length of a test function is that
// of its table or its story, so tests have a limit for files only.
const (
	funcLimit = 60
	fileLimit = 450
)

// longMark begins the comment line that gives the reason for a long function or file: in the
// comment of the function, or in any other comment outside of functions.
const longMark = "Long: "

// Sizes finds functions and files that are too long and do not say why.
func Sizes(t *Tree) []Finding {
	var found []Finding
	for _, room := range t.Rooms {
		for _, source := range room.Sources {
			if ast.IsGenerated(source.File) {
				continue
			}
			if !source.Test {
				found = append(found, t.longFuncs(source)...)
			}
			if source.Lines > fileLimit && !source.long() {
				found = append(found, Finding{File: source.Path, Text: longText(source.Lines, fileLimit, "split the file by its nouns")})
			}
		}
	}
	return found
}

func (t *Tree) longFuncs(source *Source) []Finding {
	var found []Finding
	for _, decl := range source.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		lines := t.set.Position(fn.End()).Line - t.set.Position(fn.Pos()).Line + 1
		if lines > funcLimit && !marked(fn.Doc) {
			found = append(found, t.at(fn.Pos(), "%s: %s", fn.Name.Name, longText(lines, funcLimit, "split the function")))
		}
	}
	return found
}

func longText(lines, limit int, do string) string {
	return fmt.Sprintf("%d lines, and %d are allowed; %s, or give the reason in its comment: // %sREASON", lines, limit, do, longMark)
}

// long reports whether a comment outside of functions and their comments says why source is long.
func (s *Source) long() bool {
	for _, group := range s.Comments {
		inside := false
		for _, decl := range s.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			inside = inside || ok && (group == fn.Doc || fn.Pos() <= group.Pos() && group.End() <= fn.End())
		}
		if !inside && marked(group) {
			return true
		}
	}
	return false
}

// marked reports whether comment gives the reason for a length.
func marked(comment *ast.CommentGroup) bool {
	for line := range strings.Lines(comment.Text()) {
		if reason, ok := strings.CutPrefix(line, longMark); ok && strings.TrimSpace(reason) != "" {
			return true
		}
	}
	return false
}
