package config

import "reflect"

// Changed names the keys whose values differ between c and next, in the order of the structs: what a
// reload applies. Lists change as a whole ("domain"); a section that came or went is one key
// ("tunnel").
func (c *Config) Changed(next *Config) []string { return c.changes(next, false) }

// NeedsRestart names the keys among Changed that a running program cannot take over: they stay as
// they were until it is started again. Every other change applies on reload.
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
		key := join(path, field.Tag.Get("toml"))
		if x.Kind() == reflect.Pointer && !x.IsNil() && !y.IsNil() {
			x, y = x.Elem(), y.Elem()
		}
		switch {
		case isSection(x.Type()):
			compare(x, y, key, visit)
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			visit(key, field.Tag.Get("restart") == "true")
		}
	}
}

// Take returns what is in force in a running program after a reload: next, with the keys that
// NeedsRestart names as they are in c. A later reload then still sees those as changed.
func (c *Config) Take(next *Config) *Config {
	taken := *next
	keep(reflect.ValueOf(&taken).Elem(), reflect.ValueOf(c).Elem())
	return &taken
}

// keep copies the restart keys of b to a. A section that is a pointer is copied before one of its
// keys is set: next belongs to its caller.
func keep(a, b reflect.Value) {
	for i := range a.NumField() {
		field, x, y := a.Type().Field(i), a.Field(i), b.Field(i)
		if x.Kind() == reflect.Pointer && !x.IsNil() && !y.IsNil() {
			fresh := reflect.New(x.Type().Elem())
			fresh.Elem().Set(x.Elem())
			x.Set(fresh)
			x, y = x.Elem(), y.Elem()
		}
		switch {
		case isSection(x.Type()):
			keep(x, y)
		case field.Tag.Get("restart") == "true":
			x.Set(y)
		}
	}
}
