package config

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// The tags of a key's field say what else there is to know of it:
//
//	toml:"name"           its name in the file
//	default:"20s"         its default, written as in the file but without quotes; a list's elements
//	                      are separated by commas. Without it the default is the zero value
//	missing:"text"        it is required, and text says what to write; unless:"key=word" lifts that
//	                      where another key of the section has this value
//	min:"1s" max:"1h"     the smallest and largest value; above:"0" excludes 0. Without them a number
//	                      is not negative, and an int at most 2147483647
//	zero:"for never"      0 is allowed below min, and this is what it is for
//	step:"1s"             it is a multiple of this
//	oneof:"a,b"           the words that it may be
//	format:"path"         the name of a format (format.go); an empty text has none to check
//	change:"reload"       when a new value takes effect: reload or restart
//
// A map of sections has groups:"name" and toml:"-": the file has them below the section of that name,
// whose type they have too (groups.go).
//
// Limits, words and formats of a list are those of each element. The doc comment of the field is its
// documentation: `go run ./edge/config/generate` writes docs/config.md and docs/config.schema.json
// from both.

// The values of Key.Change.
const (
	ChangeReload  = "reload"
	ChangeRestart = "restart"
)

// Section describes one section of the file.
type Section struct {
	Path     string // "bgp.health"; "" for the file itself
	Type     string // name of its Go struct
	Repeated bool   // [[path]], there may be several
	Optional bool   // what it is for is off without it
	Grouped  bool   // [path.NAME] is a group, with the same keys
	Keys     []Key  // in the order of the struct, sections inside it left out
	Inside   []Section
	Missing  string // what to write where a Repeated one is required; "": it is not
	Name     string // the last part of Path
	Field    string // of the struct that it is part of
}

// Key describes one key.
type Key struct {
	Name    string
	Field   string       // of its section's struct
	Type    reflect.Type // of the value, or of a list's elements
	List    bool
	Default string // as in the file; "none" where it has no zero value
	Missing string // what to write where it is absent; "": it is not required
	Unless  string // "key=word" of the same section, with which it is not required
	// Min and Max are of Type, and nil where there is no limit. Above: Min itself is excluded.
	Min, Max any
	Above    bool
	Zero     string // what 0 is for, where it is allowed besides; "": it is not
	Step     any    // of Type; nil: none
	OneOf    []string
	Format   string
	Change   string

	defaults string // the tag's text
	index    int    // of the field
}

// Required reports whether a file without the key is refused, whatever else it says.
func (k *Key) Required() bool { return k.Missing != "" && k.defaults == "" && k.Unless == "" }

// Describe returns the description of the whole file.
func Describe() Section { return describe(reflect.TypeFor[Config](), "") }

func describe(t reflect.Type, path string) Section {
	s := Section{Path: path, Type: t.Name()}
	for i := range t.NumField() {
		field := t.Field(i)
		if of, ok := field.Tag.Lookup("groups"); ok {
			at := slices.IndexFunc(s.Inside, func(sub Section) bool { return sub.Name == of })
			s.Inside[at].Grouped = true
			continue
		}
		name := field.Tag.Get("toml")
		in := inner(field.Type)
		if !isSection(in) {
			s.Keys = append(s.Keys, describeKey(field, i))
			continue
		}
		sub := describe(in, join(path, name))
		sub.Repeated = field.Type.Kind() == reflect.Slice
		sub.Optional = field.Type.Kind() == reflect.Pointer
		sub.Missing = field.Tag.Get("missing")
		sub.Name, sub.Field = name, field.Name
		s.Inside = append(s.Inside, sub)
	}
	return s
}

// describeKey reads the tags of a key's field. It panics for a tag that makes no sense, which a test
// finds.
func describeKey(field reflect.StructField, at int) Key {
	tag := field.Tag
	k := Key{
		Name: tag.Get("toml"), Field: field.Name, Type: inner(field.Type), List: field.Type.Kind() == reflect.Slice,
		Missing: tag.Get("missing"), Unless: tag.Get("unless"), Zero: tag.Get("zero"), Format: tag.Get("format"),
		Change: tag.Get("change"), defaults: tag.Get("default"), index: at,
	}
	if words := tag.Get("oneof"); words != "" {
		k.OneOf = strings.Split(words, ",")
	}
	for name, into := range map[string]*any{"min": &k.Min, "above": &k.Min, "max": &k.Max, "step": &k.Step} {
		if text, ok := tag.Lookup(name); ok {
			v := reflect.New(k.Type).Elem()
			setText(v, text)
			*into = v.Interface()
			k.Above = k.Above || name == "above"
		}
	}
	v := reflect.New(field.Type).Elem()
	if k.defaults != "" {
		setText(v, k.defaults)
	}
	k.Default = literal(v)
	if k.Format != "" && formats[k.Format].check == nil {
		panic(fmt.Sprintf("config: %s has the unknown format %q", field.Name, k.Format))
	}
	return k
}

// defaultOf returns a section with its defaults.
func defaultOf[T any]() T {
	var section T
	setDefaults(reflect.ValueOf(&section).Elem())
	return section
}

// setDefaults sets every key of a section, and of those that are always part of it, to its default.
func setDefaults(section reflect.Value) {
	for i := range section.NumField() {
		field, v := section.Type().Field(i), section.Field(i)
		v.SetZero()
		if text := field.Tag.Get("default"); text != "" {
			setText(v, text)
		} else if isSection(v.Type()) {
			setDefaults(v)
		}
	}
}

// setText sets a value to what a tag says. It panics where that is of another type, which a test
// finds.
func setText(v reflect.Value, text string) {
	var err error
	switch p := v.Addr().Interface().(type) {
	case *Size:
		err = p.UnmarshalText([]byte(text))
	case *Duration:
		err = p.UnmarshalText([]byte(text))
	default:
		switch {
		case v.Kind() == reflect.Slice:
			for _, part := range strings.Split(text, ",") {
				element := reflect.New(v.Type().Elem()).Elem()
				setText(element, part)
				v.Set(reflect.Append(v, element))
			}
		case v.Kind() == reflect.String:
			v.SetString(text)
		case v.Kind() == reflect.Bool:
			v.SetBool(text == "true")
		case v.CanInt():
			var n int64
			n, err = strconv.ParseInt(text, 10, 64)
			v.SetInt(n)
		case v.CanUint():
			var n uint64
			n, err = strconv.ParseUint(text, 10, 64)
			v.SetUint(n)
		case v.CanFloat():
			var f float64
			f, err = strconv.ParseFloat(text, 64)
			v.SetFloat(f)
		default:
			err = fmt.Errorf("type %s has no text", v.Type())
		}
	}
	if err != nil {
		panic(fmt.Sprintf("config: a tag says %q: %v", text, err))
	}
}

// literal writes a value as in the file, and what is not there as "none".
func literal(v reflect.Value) string {
	if v.Kind() == reflect.Pointer && v.IsNil() || v.Type() == reflect.TypeFor[netip.Addr]() && v.IsZero() {
		return "none"
	}
	if v.Kind() == reflect.Slice {
		elements := make([]string, v.Len())
		for i := range elements {
			elements[i] = literal(v.Index(i))
		}
		return "[" + strings.Join(elements, ", ") + "]"
	}
	text := fmt.Sprint(v.Interface())
	_, isSize := v.Interface().(Size)
	if v.Kind() == reflect.String || v.Type() == reflect.TypeFor[Duration]() ||
		isSize && strings.Trim(text, "0123456789") != "" {
		return `"` + text + `"`
	}
	return text
}
