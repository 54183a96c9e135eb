package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"unicode"
	"unicode/utf8"
)

// comments are the doc comments of structs ("Node") and of their fields ("Node.Name"), as sentences
// that begin without the name.
type comments map[string]string

// readComments reads the comments of every struct in the Go files of dir.
func readComments(dir string) (comments, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	all := comments{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			if types, ok := d.(*ast.GenDecl); ok && types.Tok == token.TYPE {
				all.add(types)
			}
		}
	}
	return all, nil
}

func (c comments) add(types *ast.GenDecl) {
	for _, spec := range types.Specs {
		t := spec.(*ast.TypeSpec)
		fields, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		doc := t.Doc
		if doc == nil {
			doc = types.Doc
		}
		c[t.Name.Name] = sentence(t.Name.Name, doc.Text())
		for _, field := range fields.Fields.List {
			for _, name := range field.Names {
				c[t.Name.Name+"."+name.Name] = sentence(name.Name, field.Doc.Text())
			}
		}
	}
}

// of returns a comment, and an error where there is none that begins with the name.
func (c comments) of(name string) (string, error) {
	if c[name] == "" {
		return "", fmt.Errorf("config.%s has no doc comment that begins with its name", name)
	}
	return c[name], nil
}

// sentence takes the name off a doc comment: "Name is the ..." becomes "The ...", and "Name refuses ..."
// becomes "Refuses ...". It returns "" where the comment does not begin with the name.
func sentence(name, doc string) string {
	text, ok := strings.CutPrefix(strings.Join(strings.Fields(doc), " "), name+" ")
	if !ok {
		return ""
	}
	for _, verb := range []string{"is ", "are "} {
		if rest, found := strings.CutPrefix(text, verb); found {
			text = rest
			break
		}
	}
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:]
}
