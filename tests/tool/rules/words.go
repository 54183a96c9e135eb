package rules

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A lexicon is the word lists of wordlist.go, compiled.
type lexicon struct {
	prose, shown, named []ban
	notA                *regexp.Regexp
}

// ban is a compiled advice.
type ban struct {
	stem    string // what each match contains, in lower case: most texts don't
	pattern *regexp.Regexp
	instead string
}

// gap is a space in a pattern: spaces, or the end of a line and the mark of a comment on the next.
const gap = `(?:[ \t]+|[ \t]*\n[ \t]*(?://|#|;|\*)?[ \t]*)`

func compile() lexicon {
	phrases := func(list []advice) []ban {
		var bans []ban
		for _, a := range list {
			pattern := `(?i)\b(?:` + strings.ReplaceAll(a.pattern, " ", gap) + `)\b`
			bans = append(bans, ban{stem(a.pattern), regexp.MustCompile(pattern), a.instead})
		}
		return bans
	}
	l := lexicon{prose: phrases(prose), shown: phrases(shown), notA: regexp.MustCompile("(?i)" + strings.ReplaceAll(notA, " ", gap))}
	for _, a := range named {
		l.named = append(l.named, ban{"", regexp.MustCompile(`^(?:` + a.pattern + `)$`), a.instead})
	}
	return l
}

var (
	group  = regexp.MustCompile(`\([^()]*\)`)
	either = regexp.MustCompile(`[a-z]\?`)
	apart  = regexp.MustCompile(`[^a-z]+`)
)

// stem is the longest word that each match of pattern contains, "" if there is none.
func stem(pattern string) string {
	for group.MatchString(pattern) {
		pattern = group.ReplaceAllString(pattern, "|")
	}
	words := apart.Split(either.ReplaceAllString(pattern, "|"), -1)
	return slices.MaxFunc(words, func(a, b string) int { return len(a) - len(b) })
}

// Words finds words and phrases that are not to be used: in Go comments and string literals, in
// declared names, and in other text such as docs, units and the golden output of commands. It
// skips files for which skip is true.
func Words(t *Tree, skip func(file string) bool) ([]Finding, error) {
	l := compile()
	var found []Finding
	for _, room := range t.Rooms {
		for _, source := range room.Sources {
			if skip(source.Path) || ast.IsGenerated(source.File) {
				continue
			}
			more, err := t.wordsOfGo(source, l)
			if err != nil {
				return nil, err
			}
			found = append(found, more...)
		}
	}
	for _, file := range t.Files {
		if !isProse(file) || skip(file) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(file)))
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(text, 0) >= 0 {
			continue // binary
		}
		for _, h := range l.phrases(string(text), true) {
			found = append(found, Finding{File: file, Line: 1 + bytes.Count(text[:h.offset], []byte("\n")), Text: h.text})
		}
	}
	return found, nil
}

// isProse reports whether people read the words of file, which is not Go. Data of tests is what
// others wrote, apart from the golden output of our commands.
func isProse(file string) bool {
	if strings.Contains(file, "/testdata/") {
		return below(file, "cmd/anymx/testdata") && path.Ext(file) == ".txt"
	}
	switch path.Ext(file) {
	case ".go", ".sum", ".mod", ".want":
		return false
	}
	return file != "LICENSE"
}

// hit is a banned phrase at an offset in a text.
type hit struct {
	offset int
	text   string
}

// phrases are the banned phrases in text. Text that users read is held to more of them.
func (l lexicon) phrases(text string, users bool) []hit {
	var hits []hit
	lower := strings.ToLower(text)
	lists := [][]ban{l.prose}
	if users {
		lists = append(lists, l.shown)
	}
	for _, list := range lists {
		for _, b := range list {
			if !strings.Contains(lower, b.stem) {
				continue
			}
			for _, at := range b.pattern.FindAllStringIndex(text, -1) {
				if strings.HasPrefix(lower[at[1]:], "-stream") {
					continue // the media type
				}
				if strings.HasPrefix(text[at[1]:], "-stream") {
					continue // application/octet-stream
				}
				hits = append(hits, hit{at[0], advise(text[at[0]:at[1]], b.instead)})
			}
		}
	}
	if !strings.Contains(lower, "no") {
		return hits
	}
	for _, at := range l.notA.FindAllStringSubmatchIndex(text, -1) {
		before := ""
		if at[2] >= 0 {
			before = strings.ToLower(text[at[2]:at[3]])
		}
		noun := strings.ToLower(text[at[4]:at[5]])
		if before != "there" && !slices.Contains(quantities, noun) {
			hits = append(hits, hit{at[0], advise(text[at[0]:at[1]], `"is not a ..."`)})
		}
	}
	return hits
}

func advise(phrase, instead string) string {
	return fmt.Sprintf("%q: write %s", strings.Join(strings.Fields(phrase), " "), instead)
}

func (t *Tree) wordsOfGo(source *Source, l lexicon) ([]Finding, error) {
	content, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(source.Path)))
	if err != nil {
		return nil, err
	}
	var found []Finding
	file := t.set.File(source.Package)
	for _, group := range source.Comments {
		start := file.Offset(group.Pos())
		for _, h := range l.phrases(string(content[start:file.Offset(group.End())]), false) {
			found = append(found, t.at(file.Pos(start+h.offset), "%s", h.text))
		}
	}
	ast.Inspect(source.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				found = append(found, t.wordsOfLiteral(source.Path, n, l)...)
			}
		}
		return true
	})
	return append(found, t.wordsOfNames(source, l)...), nil
}

var (
	metricName = regexp.MustCompile(`^anymx_[a-z0-9_]+$`)
	fieldTag   = regexp.MustCompile(`^(?:json|toml):"([a-z0-9_]+)`)
)

// wordsOfLiteral checks a message, or the name of a metric or a JSON field.
func (t *Tree) wordsOfLiteral(file string, lit *ast.BasicLit, l lexicon) []Finding {
	text, err := strconv.Unquote(lit.Value)
	if err != nil {
		return nil // the parser has seen to it that this can't be
	}
	name := ""
	if metricName.MatchString(text) {
		name = text
	} else if tag := fieldTag.FindStringSubmatch(text); tag != nil {
		name = tag[1]
	}
	if isStored(file, text) || isStored(file, name) {
		return nil
	}
	if name != "" {
		if name == "order" {
			return []Finding{t.at(lit.Pos(), "field order: write desired")}
		}
		if text := l.wordOf(name); text != "" {
			return []Finding{t.at(lit.Pos(), "%s", text)}
		}
		return nil
	}
	var found []Finding
	for _, h := range l.phrases(text, true) {
		found = append(found, t.at(lit.Pos(), "%s", h.text))
	}
	return found
}

// wordOf says which banned word the name has, "" if it has none.
func (l lexicon) wordOf(name string) string {
	words := strings.Fields(wordEnds.ReplaceAllString(name, "$1 $2"))
	for i, word := range words {
		word = strings.ToLower(word)
		// As the first of several words it is a verb, such as in tryLock.
		if word == "try" && (i > 0 || len(words) == 1) {
			return fmt.Sprintf("name %s: write attempt", name)
		}
		for _, b := range l.named {
			if b.pattern.MatchString(word) {
				return fmt.Sprintf("name %s, word %s: write %s", name, word, b.instead)
			}
		}
	}
	return ""
}

// wordsOfNames checks the names that source declares.
func (t *Tree) wordsOfNames(source *Source, l lexicon) []Finding {
	var found []Finding
	check := func(expr ast.Expr) {
		if name, ok := expr.(*ast.Ident); ok {
			if text := l.wordOf(name.Name); text != "" {
				found = append(found, t.at(name.Pos(), "%s", text))
			}
		}
	}
	ast.Inspect(source.File, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			check(n.Name)
			if n.Recv != nil && slices.Contains(bare, strings.ToLower(n.Name.Name)) {
				found = append(found, t.at(n.Name.Pos(), "method %s: say what it acts on, such as acceptConn", n.Name.Name))
			}
		case *ast.TypeSpec:
			check(n.Name)
			if n.Name.Name == "Order" && below(source.Path, "edge") {
				found = append(found, t.at(n.Name.Pos(), "name Order: write DesiredState"))
			}
		case *ast.ValueSpec:
			for _, name := range n.Names {
				check(name)
			}
		case *ast.Field:
			for _, name := range n.Names {
				check(name)
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, expr := range n.Lhs {
					check(expr)
				}
			}
		case *ast.RangeStmt:
			if n.Tok == token.DEFINE {
				check(n.Key)
				check(n.Value)
			}
		case *ast.StructType:
			for _, field := range n.Fields.List {
				for _, name := range field.Names {
					if name.Name == "o" {
						found = append(found, t.at(name.Pos(), "field o: call the kept options options, or by what they set"))
					}
				}
			}
		}
		return true
	})
	return found
}

// skipWords reports whether the words of file are not checked: its room is exempt, or it holds the
// lists themselves.
func skipWords(file string) bool { return isWordList(file) || isExempt(file) }

// isStored reports whether word is a name in the files on disk that a source writes.
func isStored(file, word string) bool { return slices.Contains(stored, storedWord{file, word}) }

// isWordList reports whether file holds banned words so that the rule can find them.
func isWordList(file string) bool {
	return below(file, "tests/tool/rules/testdata") || file == "tests/tool/rules/wordlist.go"
}

func isExempt(file string) bool {
	return slices.ContainsFunc(exempt, func(pattern string) bool {
		matched, err := path.Match(pattern, file)
		return below(file, pattern) || matched && err == nil
	})
}
