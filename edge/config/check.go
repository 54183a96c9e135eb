package config

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
)

// keys checks each key of a section, and of the sections inside it, by the tags of its field.
func (v *checker) keys(s *Section, section reflect.Value, path string) {
	for i := range s.Keys {
		k := &s.Keys[i]
		v.key(k, section, section.Field(k.index), join(path, k.Name))
	}
	for i := range s.Inside {
		sub := &s.Inside[i]
		value, at := section.FieldByName(sub.Field), join(path, sub.Name)
		switch {
		case sub.Repeated:
			if value.Len() == 0 && sub.Missing != "" {
				v.report(at, "missing: %s", sub.Missing)
			}
			for j := range value.Len() {
				v.keys(sub, value.Index(j), index(at, j))
			}
		case sub.Grouped:
			v.keys(sub, value, at)
			v.groups(sub, value)
		case !sub.Optional:
			v.keys(sub, value, at)
		case !value.IsNil():
			v.keys(sub, value.Elem(), at)
		}
	}
}

// key checks one key; section is what it is part of.
func (v *checker) key(k *Key, section, value reflect.Value, key string) {
	if k.List {
		if value.Len() == 0 && k.missing(section) {
			v.report(key, "missing: %s", k.Missing)
		}
		for i := range value.Len() {
			v.element(k, value.Index(i), index(key, i))
		}
		return
	}
	if value.Kind() == reflect.Pointer {
		if !value.IsNil() {
			v.element(k, value.Elem(), key)
		}
		return
	}
	switch {
	case !value.IsZero(), k.Missing == "" && value.Kind() != reflect.String, k.OneOf != nil:
		v.element(k, value, key)
	case !k.missing(section):
	case k.numeric():
		v.report(key, "missing or 0: %s", k.Missing)
	default:
		v.report(key, "missing: %s", k.Missing)
	}
}

// missing reports whether the key's absence is a problem in this section.
func (k *Key) missing(section reflect.Value) bool {
	other, word, conditional := strings.Cut(k.Unless, "=")
	if !conditional {
		return k.Missing != ""
	}
	return section.Field(fieldsOf(section.Type())[other]).String() != word
}

func (k *Key) numeric() bool {
	z := reflect.Zero(k.Type)
	return z.CanInt() || z.CanUint() || z.CanFloat()
}

// element checks a value, or one of a list, by words, limits and format.
func (v *checker) element(k *Key, value reflect.Value, key string) {
	if k.OneOf != nil && !slices.Contains(k.OneOf, value.String()) {
		v.report(key, "%s is unknown; write one of %s", quote(value.String()), `"`+strings.Join(k.OneOf, `", "`)+`"`)
	}
	if k.numeric() {
		if problem := k.outside(value); problem != "" {
			v.report(key, "%s", problem)
		}
	}
	if k.Format != "" {
		v.fault(key, formats[k.Format].check(value.Interface()))
	}
}

// outside says what is wrong with a number that is beyond the key's limits; "" if it is not.
func (k *Key) outside(value reflect.Value) string {
	least, most, zero := k.limits()
	low, high := compareNumbers(value, least), compareNumbers(value, most)
	shown := value.Interface()
	switch {
	case k.Zero != "" && value.IsZero():
		return ""
	case value.CanFloat() && (low < 0 || high > 0): // NaN is less than all others
		return fmt.Sprintf("must be from %v to %v, not %v", least, most, shown)
	case k.Zero != "" && (low < 0 || high > 0) && compareNumbers(value, zero) > 0:
		return fmt.Sprintf("must be from %v to %v, or 0 %s, not %v", least, most, k.Zero, shown)
	case compareNumbers(value, zero) < 0:
		return "must not be negative"
	case k.Above && low <= 0, low < 0 && least.CanInt() && least.Int() == 1:
		return "must be greater than 0"
	case low < 0:
		return fmt.Sprintf("must be at least %v, not %v", least, shown)
	case high > 0:
		return fmt.Sprintf("must be at most %v, not %v", most, shown)
	case k.Step == Duration(time.Second) && value.Int()%int64(time.Second) != 0:
		return fmt.Sprintf("%v is not a whole number of seconds", shown)
	}
	return ""
}

// limits returns the smallest and largest value, and 0, all of the key's type.
func (k *Key) limits() (least, most, zero reflect.Value) {
	zero = reflect.Zero(k.Type)
	least, most = zero, reflect.New(k.Type).Elem()
	switch {
	case k.Max != nil:
		most = reflect.ValueOf(k.Max)
	case k.Type == reflect.TypeFor[int]():
		most.SetInt(math.MaxInt32)
	case most.CanInt():
		most.SetInt(math.MaxInt64)
	case most.CanUint():
		most.SetUint(math.MaxUint64 >> (64 - k.Type.Bits()))
	default:
		most.SetFloat(math.MaxFloat64)
	}
	if k.Min != nil {
		least = reflect.ValueOf(k.Min)
	}
	return least, most, zero
}

// compareNumbers compares two numbers of one type.
func compareNumbers(a, b reflect.Value) int {
	switch {
	case a.CanInt():
		return cmp.Compare(a.Int(), b.Int())
	case a.CanUint():
		return cmp.Compare(a.Uint(), b.Uint())
	}
	return cmp.Compare(a.Float(), b.Float())
}
