package config

import (
	"encoding"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strings"
)

// decoder sets structs to the values of a document and collects the problems. A value of the wrong
// type leaves the default in place, so that the later checks don't report the key a second time.
type decoder struct {
	problems []Problem
	where    map[string]position // of every section, key and element in the document
	faulty   map[string]bool     // the keys that have a problem
	groups   map[string]*node    // of [core], by name
}

// newDecoder starts with the problems of reading the document. Of a key that appears twice the first
// value counts and is checked, so the key is not faulty.
func newDecoder(problems []Problem) *decoder {
	return &decoder{
		problems: problems, where: map[string]position{}, faulty: map[string]bool{}, groups: map[string]*node{},
	}
}

// document decodes the whole tree.
func (d *decoder) document(root *node, into *Config) {
	d.section(root, reflect.ValueOf(into).Elem(), "")
	d.coreGroups(into)
}

// report adds a problem at the key's place, unless the key, or what it is part of, has one.
func (d *decoder) report(key, format string, args ...any) {
	for k := key; k != ""; k = parent(k) {
		if d.faulty[k] {
			return
		}
	}
	pos := position{1, 1}
	for k := key; k != ""; k = parent(k) {
		if p, ok := d.where[k]; ok {
			pos = p
			break
		}
	}
	d.faulty[key] = true
	d.problems = append(d.problems, Problem{
		Line: pos.line, Column: pos.column, Key: key, Reason: fmt.Sprintf(format, args...),
	})
}

// parent cuts the last name or index off a path.
func parent(key string) string { return key[:max(0, strings.LastIndexAny(key, ".["))] }

func (d *decoder) section(n *node, into reflect.Value, path string) {
	fields := fieldsOf(into.Type())
	for name, child := range n.table {
		key := join(path, name)
		d.where[key] = child.pos
		if i, known := fields[name]; known {
			d.value(child, into.Field(i), key)
		} else if path == "core" && child.opened() {
			d.groups[name] = child
		} else {
			d.unknown(n, into.Type(), path, name)
		}
	}
}

// value decodes one value by the type of the field that takes it.
func (d *decoder) value(n *node, into reflect.Value, key string) {
	if d.text(n, into, key) {
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		fresh := newValue(into.Type().Elem())
		d.value(n, fresh, key)
		if !d.faulty[key] {
			into.Set(fresh.Addr())
		}
	case reflect.Struct:
		switch n.kind {
		case section:
			d.section(n, into, key)
		case list:
			d.report(key, "is one section, not a list: write [%s] once", key)
		default:
			d.report(key, "must be a section, [%s], not %s", key, n.kind)
		}
	case reflect.Slice:
		d.list(n, into, key)
	case reflect.String:
		if s, ok := n.scalar.(string); ok {
			into.SetString(s)
		} else {
			d.report(key, `must be text in "quotes", not %s`, n.kind)
		}
	case reflect.Bool:
		if b, ok := n.scalar.(bool); ok {
			into.SetBool(b)
		} else {
			d.report(key, "must be true or false, without quotes, not %s", n.kind)
		}
	default:
		d.number(n, into, key)
	}
}

// text decodes the types that have a text form. It returns false for every other type.
func (d *decoder) text(n *node, into reflect.Value, key string) bool {
	var want string
	var decode func(string) error
	switch p := into.Addr().Interface().(type) {
	case *Size:
		if i, ok := n.scalar.(int64); ok {
			n = &node{kind: text, scalar: fmt.Sprint(i)}
		}
		want, decode = `a size, such as "35MiB"`, unmarshal(p)
	case *Duration:
		if n.scalar == int64(0) {
			n = &node{kind: text, scalar: "0"}
		}
		want, decode = `a duration in quotes and with a unit, such as "30s"`, unmarshal(p)
	case *PublicKey:
		want, decode = `a key in "quotes"`, unmarshal(p)
	case *netip.Prefix:
		want, decode = `a network in "quotes"`, func(s string) (err error) { *p, err = ParsePrefix(s); return }
	case *netip.Addr:
		want, decode = `an IP address in "quotes"`, func(s string) (err error) { *p, err = parseAddr(s); return }
	default:
		return false
	}
	if s, ok := n.scalar.(string); !ok {
		d.report(key, "must be %s, not %s", want, n.kind)
	} else if err := decode(s); err != nil {
		d.report(key, "%s", err)
	}
	return true
}

func unmarshal(into encoding.TextUnmarshaler) func(string) error {
	return func(s string) error { return into.UnmarshalText([]byte(s)) }
}

func (d *decoder) number(n *node, into reflect.Value, key string) {
	i, whole := n.scalar.(int64)
	switch {
	case into.Kind() == reflect.Float64 && whole:
		into.SetFloat(float64(i))
	case into.Kind() == reflect.Float64:
		if f, ok := n.scalar.(float64); ok {
			into.SetFloat(f)
		} else {
			d.report(key, "must be a number, not %s", n.kind)
		}
	case !whole:
		d.report(key, "must be a whole number without quotes, not %s", n.kind)
	case into.CanUint():
		if largest := uint64(math.MaxUint64) >> (64 - into.Type().Bits()); i < 0 || uint64(i) > largest {
			d.report(key, "must be from 0 to %d, not %d", largest, i)
		} else {
			into.SetUint(uint64(i))
		}
	default:
		into.SetInt(i)
	}
}

// list replaces the default list. An element that does not fit stays as its zero value, so that the
// others keep their index.
func (d *decoder) list(n *node, into reflect.Value, key string) {
	element := into.Type().Elem()
	if n.kind != list {
		if isSection(element) {
			d.report(key, "there can be several: write [[%s]] with two brackets", key)
		} else {
			d.report(key, "must be a [list], not %s", n.kind)
		}
		return
	}
	fresh := reflect.Zero(into.Type())
	for i, child := range n.list {
		at := index(key, i)
		d.where[at] = child.pos
		value := newValue(element)
		d.value(child, value, at)
		fresh = reflect.Append(fresh, value)
	}
	into.Set(fresh)
}

// newValue makes a value that can be set, with its defaults where it has some.
func newValue(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	if isSection(t) {
		setDefaults(v)
	}
	return v
}

// fieldsOf maps the keys of a section to the fields of its struct.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		if _, groups := tag.Lookup("groups"); !groups {
			fields[tag.Get("toml")] = i
		}
	}
	return fields
}

// isSection reports whether t is a struct of this package, which has keys, and not one that is a single
// value, such as netip.Prefix.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.PkgPath() == reflect.TypeFor[Config]().PkgPath()
}
