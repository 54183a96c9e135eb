package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// kind is the kind of a value of the document.
type kind uint8

const (
	section kind = iota // [name], {..} or the inside of a dotted key
	list
	text
	integer
	fraction
	boolean
	date
)

// String names the kind as an operator would.
func (k kind) String() string {
	return [...]string{
		"a section", "a list", "text", "a whole number", "a number with a fraction", "true or false", "a date",
	}[k]
}

// position is a place in the file; both count from 1, columns in bytes.
type position struct{ line, column int }

// node is a section, a list or a value, with its position: for a key's value, that of the key.
type node struct {
	kind   kind
	pos    position
	header bool             // a section that its own [header] opened
	closed bool             // written in one piece: what follows cannot add to it
	table  map[string]*node // of a section
	list   []*node          // of a list
	scalar any              // of a value: string, int64, float64 or bool; nil for a date
}

// opened reports whether n is a section or several, and not a value.
func (n *node) opened() bool { return n.kind == section || n.kind == list && !n.closed }

// place is a key or header of the document and its line.
type place struct {
	line int
	path string
}

// document reads TOML into nodes. go-toml's own decoder stops at the first value of a wrong type
// and knows no line of a value that it took; this one goes on, and keeps the lines.
type document struct {
	data     []byte
	lines    []int // offset of each line's start
	parser   unstable.Parser
	problems []Problem

	root    *node
	current *node   // the section of the last header
	path    string  // its path
	next    int     // the line after the last expression
	keys    []place // in the order of the file
}

// readDocument returns the tree of a document and what is wrong with it as TOML. Where the syntax
// is broken the tree is nil, because what the rest would have said is not known.
func readDocument(data []byte) (*node, []Problem) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // a byte order mark
	d := &document{data: data, lines: []int{0}, next: 1, root: newSection(position{1, 1})}
	for i, c := range data {
		if c == '\n' {
			d.lines = append(d.lines, i+1)
		}
	}
	d.current = d.root
	d.parser.Reset(data)
	for d.parser.NextExpression() {
		d.expression(d.parser.Expression())
	}
	if err := d.parser.Error(); err != nil {
		d.syntaxError(err)
		return nil, d.problems
	}

	// What TOML forbids besides bad syntax and the redefinitions found above (impossible dates,
	// numbers out of range, some mixtures of headers and dotted keys) is go-toml's to say.
	if len(d.problems) == 0 {
		var anything map[string]any
		if err := toml.Unmarshal(data, &anything); err != nil {
			d.refused(err)
			return nil, d.problems
		}
	}
	return d.root, d.problems
}

// refused reports an error of go-toml's decoder.
func (d *document) refused(err error) {
	at, path := position{1, 1}, ""
	if decode := (*toml.DecodeError)(nil); errors.As(err, &decode) {
		at.line, at.column = decode.Position()
	}
	for _, k := range d.keys {
		if k.line <= at.line {
			path = k.path
		}
	}
	d.problem(at, path, "%s", strings.TrimPrefix(err.Error(), "toml: "))
}

func newSection(pos position) *node {
	return &node{kind: section, pos: pos, table: map[string]*node{}}
}

func (d *document) problem(pos position, key, format string, args ...any) {
	d.problems = append(d.problems, Problem{
		Line: pos.line, Column: pos.column, Key: key, Reason: fmt.Sprintf(format, args...),
	})
}

func (d *document) position(offset int) position {
	line, found := slices.BinarySearch(d.lines, offset)
	if !found {
		line-- // the line that starts before it
	}
	return position{line + 1, offset - d.lines[line] + 1}
}

func (d *document) expression(e *unstable.Node) {
	switch e.Kind {
	case unstable.KeyValue:
		d.keyValue(d.current, d.path, e)
		d.next = d.position(int(e.Raw.Offset+e.Raw.Length)).line + 1
	case unstable.Table, unstable.ArrayTable:
		d.open(e)
	}
}

// open makes the section of a header the current one.
func (d *document) open(e *unstable.Node) {
	at, path := d.root, ""
	for keys := e.Key(); keys.Next(); {
		name, pos := string(keys.Node().Data), d.position(int(keys.Node().Raw.Offset))
		path = join(path, name)
		array := e.Kind == unstable.ArrayTable && keys.IsLast()
		next := at.table[name]
		switch {
		case next == nil && array:
			next = &node{kind: list, pos: pos}
			at.table[name] = next
		case next == nil:
			next = newSection(pos)
			at.table[name] = next
		case next.closed, keys.IsLast() && array != (next.kind == list):
			d.problem(pos, path, "is already %s, since line %d", next.kind, next.pos.line)
			next = newSection(pos) // outside the tree: what follows goes nowhere
		}
		if keys.IsLast() && !array {
			if next.header {
				d.problem(pos, path, "this section appears twice, first on line %d", next.pos.line)
			}
			next.header = true
		}
		if array && next.kind == list {
			next.list = append(next.list, newSection(pos))
		}
		if next.kind == list {
			path = index(path, len(next.list)-1)
			next = next.list[len(next.list)-1]
		}
		at = next
		d.next = pos.line + 1
	}
	d.current, d.path = at, path
	d.keys = append(d.keys, place{d.next - 1, path})
}

// keyValue adds one key = value to a section. Of a key that appears twice the first one counts.
func (d *document) keyValue(into *node, path string, e *unstable.Node) {
	keys := e.Key()
	for keys.Next() {
		name, pos := string(keys.Node().Data), d.position(int(keys.Node().Raw.Offset))
		path = join(path, name)
		next := into.table[name]
		switch {
		case next != nil && (keys.IsLast() || next.closed || next.kind != section):
			d.problem(pos, path, "appears twice, first on line %d", next.pos.line)
			return
		case keys.IsLast():
			d.keys = append(d.keys, place{pos.line, path})
			into.table[name] = d.value(e.Value(), pos, path)
			into.table[name].pos = pos
		case next == nil:
			next = newSection(pos)
			into.table[name] = next
		}
		into = next
	}
}

// value reads a value. pos is the position of its key.
func (d *document) value(n *unstable.Node, pos position, path string) *node {
	if n.Raw.Length > 0 {
		pos = d.position(int(n.Raw.Offset))
	}
	v := &node{pos: pos, closed: true}
	digits := strings.ReplaceAll(string(n.Data), "_", "")
	switch n.Kind {
	case unstable.String:
		v.kind, v.scalar = text, string(n.Data)
	case unstable.Bool:
		v.kind, v.scalar = boolean, string(n.Data) == "true"
	case unstable.Integer:
		i, _ := strconv.ParseInt(digits, 0, 64) // out of range: refused by readDocument
		v.kind, v.scalar = integer, i
	case unstable.Float:
		f, _ := strconv.ParseFloat(digits, 64)
		v.kind, v.scalar = fraction, f
	case unstable.Array:
		v.kind = list
		for elements := n.Children(); elements.Next(); {
			v.list = append(v.list, d.value(elements.Node(), pos, index(path, len(v.list))))
		}
	case unstable.InlineTable:
		v.kind, v.table = section, map[string]*node{}
		for entries := n.Children(); entries.Next(); {
			d.keyValue(v, path, entries.Node())
		}
	default:
		v.kind = date
	}
	return v
}

var (
	bareKey = regexp.MustCompile(`^[ \t]*([A-Za-z0-9_-]+)`) // the key of a line that may be broken after it
	blank   = regexp.MustCompile(`^\s*(#|$)`)               // an empty line or a comment
)

// syntaxError reports what the parser stopped at, under the key of the broken line or, where none
// can be made out, under the section that it is in.
func (d *document) syntaxError(err error) {
	var broken *unstable.ParserError
	if !errors.As(err, &broken) {
		d.problem(position{1, 1}, "", "%s", err)
		return
	}
	at := d.position(int(d.parser.Range(broken.Highlight).Offset))
	start := min(d.next, at.line)
	for start < at.line && blank.Match(d.line(start)) {
		start++
	}
	path := d.path
	if m := bareKey.FindSubmatch(d.line(start)); m != nil {
		path = join(d.path, string(m[1]))
	}
	reason, unclosed := plainSyntax(broken.Message)
	switch {
	case unclosed: // the parser ran to the end of the file: say where it began
		at = position{start, 1}
	case start < at.line:
		reason += fmt.Sprintf("; the unfinished part starts on line %d", start)
	}
	d.problem(at, path, "%s", reason)
}

// line returns the text of a line, which counts from 1.
func (d *document) line(n int) []byte {
	line, _, _ := bytes.Cut(d.data[d.lines[n-1]:], []byte("\n"))
	return line
}

// plainSyntax says in plain words what the parser expected, and whether it expected the end of
// something up to the end of the file. A message that it does not know is passed on as it is.
func plainSyntax(message string) (reason string, unclosed bool) {
	for _, s := range []struct{ part, plain string }{
		{"U+000A at start of value", `expected a value after "="`},
		{"U+000D at start of value", `expected a value after "="`},
		{"expected value, not end of input", `expected a value after "="`},
		{"at start of value", `expected a value: text in "quotes", a number, true, false or a [list]`},
		{"expected keyword", `expected a value: text in "quotes", a number, true, false or a [list]`},
		{"strings must be quoted", `expected quotes: text and values with a unit are written in "quotes"`},
		{"expected newline but got", `expected the end of the line after the value; text, such as an address, is written in "quotes"`},
		{"strings cannot have new lines", "expected a closing quote before the end of the line"},
		{"expected '=' after key", `expected "=" after the key`},
		{"expected ']' to close", `expected "]" after the name of the section`},
		{"expected ']]' to close", `expected "]]" after the name of the section`},
		{"at start of key", "expected a key or a [section]"},
		{"expected ',' or ']'", `expected "," or "]" after a value of the list; text, such as an address, is written in "quotes"`},
		{"leading zeroes", "a number must not start with 0"},
		{"invalid UTF-8", "expected UTF-8: this byte is not part of it"},
		{"invalid escape", `unknown escape in the text: write \\ for a backslash, or the text in 'single quotes'`},
	} {
		if strings.Contains(message, s.part) {
			return s.plain, false
		}
	}
	switch {
	case strings.Contains(message, "array is incomplete"):
		return `expected "]": the list that starts here is never closed`, true
	case strings.Contains(message, "inline table is incomplete"):
		return `expected "}": the braces that open here are never closed`, true
	case strings.Contains(message, "not terminated"), strings.Contains(message, "unterminated"):
		return "expected a closing quote: the text that starts here never ends", true
	}
	return message, false
}

// join appends a name to a path, quoted where TOML demands it, so that a path is one line always.
func join(path, name string) string {
	if m := bareKey.FindString(name); m != name || m == "" {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

// index appends the index of an element, from 0, to the path of a list.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
