package rules

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Tree is a module as it lies on disk.
type Tree struct {
	Module string // from go.mod
	Rooms  []*Room
	Files  []string // all files, slash-separated, below the root
	Root   string
	set    *token.FileSet
}

// Room is one folder with Go files.
type Room struct {
	Path    string // below the root, such as "edge/spool"
	Sources []*Source
}

// Source is one Go file.
type Source struct {
	Path  string
	Lines int
	Test  bool // its name ends in _test.go
	*ast.File
}

// Finding is one place where a rule does not hold.
type Finding struct {
	File string
	Line int // 0: the file as a whole
	Text string
}

func (f Finding) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.Text
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text)
}

// skipped are folders that are not part of the tree that git keeps. Folders
// named testdata are listed, but their Go files are not parsed.
var skipped = []string{".git", ".run", ".image", "bin"}

// Read parses the module in the directory root.
func Read(root string) (*Tree, error) {
	t := &Tree{Root: root, set: token.NewFileSet()}
	rooms := map[string]*Room{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if entry.IsDir() && slices.Contains(skipped, rel) {
			return filepath.SkipDir
		}
		if entry.IsDir() || slices.Contains(skipped, rel) {
			return nil
		}
		t.Files = append(t.Files, rel)
		if path.Ext(rel) != ".go" || strings.Contains("/"+rel, "/testdata/") {
			return nil
		}
		source, err := t.parse(name, rel)
		if err != nil {
			return err
		}
		dir := path.Dir(rel)
		if rooms[dir] == nil {
			rooms[dir] = &Room{Path: dir}
			t.Rooms = append(t.Rooms, rooms[dir])
		}
		rooms[dir].Sources = append(rooms[dir].Sources, source)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tree: %w", err)
	}
	if t.Module, err = moduleName(filepath.Join(root, "go.mod")); err != nil {
		return nil, err
	}
	slices.SortFunc(t.Rooms, func(a, b *Room) int { return cmp.Compare(a.Path, b.Path) })
	return t, nil
}

func (t *Tree) parse(name, rel string) (*Source, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseFile(t.set, rel, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	return &Source{
		Path:  rel,
		Lines: bytes.Count(text, []byte("\n")),
		Test:  strings.HasSuffix(rel, "_test.go"),
		File:  file,
	}, nil
}

func moduleName(file string) (string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", fmt.Errorf("%s names no module", file)
}

// at is a finding at a place in a parsed file.
func (t *Tree) at(pos token.Pos, format string, args ...any) Finding {
	p := t.set.Position(pos)
	return Finding{File: p.Filename, Line: p.Line, Text: fmt.Sprintf(format, args...)}
}

// below says whether path is dir or lies in it.
func below(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}
