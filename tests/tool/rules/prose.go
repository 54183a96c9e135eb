package rules

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

// mainLimit is how long a program's main.go may be: it assembles, packages act.
const mainLimit = 120

// Mains holds every program below cmd to a short main.go.
func Mains(t *Tree) []Finding {
	var found []Finding
	for _, room := range t.Rooms {
		if !below(room.Path, "cmd") {
			continue
		}
		i := slices.IndexFunc(room.Sources, func(s *Source) bool { return path.Base(s.Path) == "main.go" })
		if i < 0 {
			found = append(found, Finding{File: room.Path, Text: "a program without a main.go"})
			continue
		}
		if main := room.Sources[i]; main.Lines >= mainLimit {
			found = append(found, t.at(main.Package, "%d lines; a main has fewer than %d", main.Lines, mainLimit))
		}
	}
	return found
}

// Comments asks for a package comment in every room, which among tests may
// stand in a test file, and for a doc comment on everything that a package
// exports.
func Comments(t *Tree) []Finding {
	var found []Finding
	for _, room := range t.Rooms {
		described := false
		for _, source := range room.Sources {
			described = described || source.Doc != nil && (!source.Test || below(room.Path, "tests"))
			if source.Test || source.Name.Name == "main" {
				continue
			}
			for _, decl := range source.Decls {
				found = append(found, t.undocumented(decl)...)
			}
		}
		if !described {
			found = append(found, Finding{File: room.Path, Text: "no package comment: what happens to the data here?"})
		}
	}
	return found
}

// plumbing are methods whose meaning the standard library has fixed. They
// need no words where there is nothing to add.
var plumbing = []string{
	"Close", "Error", "Format", "Len", "Less", "LogValue", "MarshalJSON", "MarshalText", "Read",
	"String", "Swap", "Unwrap", "UnmarshalJSON", "UnmarshalText", "Write",
}

func (t *Tree) undocumented(decl ast.Decl) []Finding {
	switch decl := decl.(type) {
	case *ast.FuncDecl:
		if decl.Doc != nil || !decl.Name.IsExported() {
			return nil
		}
		if decl.Recv != nil && (!exportedReceiver(decl.Recv) || slices.Contains(plumbing, decl.Name.Name)) {
			return nil
		}
		return []Finding{t.at(decl.Pos(), "%s is exported and has no comment", decl.Name.Name)}
	case *ast.GenDecl:
		if decl.Tok == token.IMPORT || decl.Doc != nil && decl.Tok != token.TYPE {
			return nil
		}
		var found []Finding
		for _, spec := range decl.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && spec.Doc == nil && spec.Comment == nil && decl.Doc == nil {
					found = append(found, t.at(spec.Pos(), "%s is exported and has no comment", spec.Name.Name))
				}
			case *ast.ValueSpec:
				if spec.Doc != nil || spec.Comment != nil {
					continue
				}
				for _, name := range spec.Names {
					if name.IsExported() {
						found = append(found, t.at(name.Pos(), "%s is exported and has no comment", name.Name))
					}
				}
			}
		}
		return found
	}
	return nil
}

func exportedReceiver(fields *ast.FieldList) bool {
	typ := fields.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// emptyWords say nothing of what a thing is. They are not part of a room's
// name, a file's name or a type's name.
var emptyWords = regexp.MustCompile(`(?i)^(utils?|helpers?|common|base|misc|managers?)$`)

// wordEnds finds where one word ends and the next begins in a Go name.
var wordEnds = regexp.MustCompile(`([a-z0-9])([A-Z])|[_-]`)

// Names holds names of rooms, files and types to the field's nouns.
func Names(t *Tree) []Finding {
	var found []Finding
	for _, room := range t.Rooms {
		for part := range strings.SplitSeq(room.Path, "/") {
			if word := emptyWord(part); word != "" {
				found = append(found, Finding{File: room.Path, Text: "the word " + word + " says nothing: name the room by what is in it"})
			}
		}
		for _, source := range room.Sources {
			if word := emptyWord(strings.TrimSuffix(path.Base(source.Path), ".go")); word != "" {
				found = append(found, Finding{File: source.Path, Text: "the word " + word + " says nothing: name the file by its noun"})
			}
			for _, decl := range source.Decls {
				gen, ok := decl.(*ast.GenDecl)
				if !ok || gen.Tok != token.TYPE {
					continue
				}
				for _, spec := range gen.Specs {
					name := spec.(*ast.TypeSpec).Name
					if word := emptyWord(name.Name); word != "" {
						found = append(found, t.at(name.Pos(), "the word %s says nothing: name the type %s by what it is", word, name.Name))
					}
				}
			}
		}
	}
	return found
}

// emptyWord is the first empty word in name, "" if there is none.
func emptyWord(name string) string {
	for word := range strings.FieldsSeq(wordEnds.ReplaceAllString(name, "$1 $2")) {
		if emptyWords.MatchString(word) {
			return word
		}
	}
	return ""
}
