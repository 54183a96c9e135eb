package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// unknown reports a key that its section does not have, with the key that was probably meant: the
// nearest one of the same section, else the section that does have it. Where a key was probably
// meant and is absent, nothing more is said of its absence.
func (d *decoder) unknown(n *node, t reflect.Type, path, name string) {
	what, hint := "key", ""
	if n.table[name].opened() {
		what = "section"
	}
	if near := nearest(name, slices.Sorted(maps.Keys(fieldsOf(t)))); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", written(t.Field(fieldsOf(t)[near]), path))
		if n.table[near] == nil {
			defer func() { d.faulty[join(path, near)] = true }()
		}
	} else if home := sectionWith(name); home != "" {
		hint = "; it belongs in " + home
	}
	d.report(join(path, name), "unknown %s%s", what, hint)
}

// sectionWith returns the first section that has a key of this name, "" if none has. Those of the
// file itself come before those inside others.
func sectionWith(name string) string {
	type home struct {
		fields      reflect.Type
		path, shown string
	}
	homes := []home{{fields: reflect.TypeFor[Config]()}}
	for i := 0; i < len(homes); i++ {
		h := homes[i]
		if _, ok := fieldsOf(h.fields)[name]; ok && h.shown != "" {
			return h.shown
		}
		for field := range h.fields.Fields() {
			if t := inner(field.Type); isSection(t) {
				homes = append(homes, home{t, join(h.path, field.Tag.Get("toml")), written(field, h.path)})
			}
		}
	}
	return ""
}

// written shows a field as in the file: [ingress], [[domain]], "listen".
func written(field reflect.StructField, path string) string {
	name := field.Tag.Get("toml")
	switch {
	case !isSection(inner(field.Type)):
		return quote(name)
	case field.Type.Kind() == reflect.Slice:
		return "[[" + join(path, name) + "]]"
	}
	return "[" + join(path, name) + "]"
}

// inner returns what a pointer points to or a list holds, and every other type as it is.
func inner(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		return t.Elem()
	}
	return t
}

// nearest returns the word that fewest edits make out of name, "" if that takes more than a third
// of the word's letters or more than 3.
func nearest(name string, words []string) string {
	best, fewest := "", 0
	for _, word := range words {
		most := min(3, max(1, len(word)/3))
		if diff := len(name) - len(word); max(diff, -diff) > most {
			continue // which also keeps a name as long as the file out of edits
		}
		if n := edits(name, word); n <= most && (best == "" || n < fewest) {
			best, fewest = word, n
		}
	}
	return best
}

// edits counts the letters to insert, delete, replace or swap with their neighbour to make b out of
// a (the restricted Damerau-Levenshtein distance).
func edits(a, b string) int {
	var before []int // the row before the last one
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			replaced := last[j]
			if a[i] != b[j] {
				replaced++
			}
			row[j+1] = min(replaced, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
