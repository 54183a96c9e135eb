package config

import "reflect"

// Changed returns the keys whose values differ between c and next, in the order of the structs. Lists
// change as a whole ("domain"); a section or group that was added or removed is one key ("tunnel", "core.NAME").
func (c *Config) Changed(next *Config) []string { return c.changes(next, false) }

// NeedsRestart returns the keys among Changed that a running program can't apply: they keep their
// value until it is restarted. All others apply at reload.
func (c *Config) NeedsRestart(next *Config) []string { return c.changes(next, true) }

func (c *Config) changes(next *Config, restartOnly bool) []string {
	var keys []string
	compare(reflect.ValueOf(c).Elem(), reflect.ValueOf(next).Elem(), "", func(key string, restart bool) {
		if restart || !restartOnly {
			keys = append(keys, key)
		}
	})
	return keys
}

// compare visits the keys that differ between two sections of the same type.
func compare(a, b reflect.Value, path string, visit func(key string, restart bool)) {
	for i := range a.NumField() {
		field, x, y := a.Type().Field(i), a.Field(i), b.Field(i)
		if of, ok := field.Tag.Lookup("groups"); ok {
			compareGroups(x, y, join(path, of), visit)
			continue
		}
		key := join(path, field.Tag.Get("toml"))
		if x.Kind() == reflect.Pointer && !x.IsNil() && !y.IsNil() {
			x, y = x.Elem(), y.Elem()
		}
		switch {
		case isSection(x.Type()):
			compare(x, y, key, visit)
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			visit(key, field.Tag.Get("change") == ChangeRestart)
		}
	}
}

// Reloaded returns what is in force in a running program after a reload from c to next: next, with
// the keys that NeedsRestart returns as they are in c. A later reload still sees those as changed.
func (c *Config) Reloaded(next *Config) *Config {
	inForce := *next
	keep(reflect.ValueOf(&inForce).Elem(), reflect.ValueOf(c).Elem())
	return &inForce
}

// keep copies the restart keys of b to a. A section that is a pointer is copied before one of its
// keys is set: next belongs to its caller.
func keep(a, b reflect.Value) {
	for i := range a.NumField() {
		field, x, y := a.Type().Field(i), a.Field(i), b.Field(i)
		if x.Kind() == reflect.Map {
			keepGroups(x, y)
			continue
		}
		if x.Kind() == reflect.Pointer && !x.IsNil() && !y.IsNil() {
			fresh := reflect.New(x.Type().Elem())
			fresh.Elem().Set(x.Elem())
			x.Set(fresh)
			x, y = x.Elem(), y.Elem()
		}
		switch {
		case isSection(x.Type()):
			keep(x, y)
		case field.Tag.Get("change") == ChangeRestart:
			x.Set(y)
		}
	}
}
