package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// A core group is a section below [core] whose name is not that of a key: [core.NAME]. It is decoded
// over a copy of [core], so what it doesn't set is inherited; the addresses, a list, are not.

// coreGroups decodes the groups that the section [core] has left over.
func (d *decoder) coreGroups(into *Config) {
	for name, n := range d.groups {
		key := join("core", name)
		if err := checkWord(name); err != nil || name == "" {
			d.report(key, "%s can't be the name of a core group: write lower-case letters, digits and inner hyphens, at most 63", quote(name))
			continue
		}
		group := into.Core
		group.Addresses = nil
		d.value(n, reflect.ValueOf(&group).Elem(), key)
		if into.Cores == nil {
			into.Cores = make(map[string]Core, len(d.groups))
		}
		into.Cores[name] = group
	}
}

// CoreNames returns the names of the core groups, sorted.
func (c *Config) CoreNames() []string { return slices.Sorted(maps.Keys(c.Cores)) }

// UnusedCores returns the names of the core groups that no domain names, sorted. No mail goes there.
func (c *Config) UnusedCores() []string {
	used := make(map[string]bool, len(c.Cores))
	for i := range c.Domains {
		used[c.Domains[i].Core] = true
	}
	return slices.DeleteFunc(c.CoreNames(), func(name string) bool { return used[name] })
}

// warn reports what is valid, and probably not meant.
func (c *Config) warn(report func(key, format string, args ...any)) {
	for _, name := range c.UnusedCores() {
		report(join("core", name), `no [[domain]] has core = %s: no mail goes to this group`, quote(name))
	}
}

// cores checks the addresses of [core] and of its groups.
func (v *checker) cores() {
	v.coreAddresses("core", v.Core.Addresses)
	for _, name := range v.CoreNames() {
		v.coreAddresses(join("core", name), v.Cores[name].Addresses)
	}
}

// groups checks each key of the groups of a section by the tags of its field. A faulty value that a
// group has inherited is reported once, at the section.
func (v *checker) groups(s *Section, section reflect.Value) {
	for _, name := range v.CoreNames() {
		group, at := reflect.ValueOf(v.Cores[name]), join(s.Path, name)
		if err := checkWord(name); err != nil || name == "" {
			v.report(at, "%s can't be the name of a core group", quote(name))
		}
		for i := range s.Keys {
			k := &s.Keys[i]
			inherited := !k.List && reflect.DeepEqual(group.Field(k.index).Interface(), section.Field(k.index).Interface())
			if !inherited || v.sound(join(s.Path, k.Name)) {
				v.key(k, group, group.Field(k.index), join(at, k.Name))
			}
		}
	}
}

// noGroup reports a domain whose core group doesn't exist.
func (v *checker) noGroup(key, name string) {
	if v.faulty[join("core", name)] {
		return
	}
	hint := ""
	if near := nearest(name, v.CoreNames()); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", quote(near))
	}
	v.report(key, "there is no section [%s]%s", join("core", name), hint)
}

// compareGroups visits the keys that differ between the groups of two sections. A group that was
// added or removed needs no restart.
func compareGroups(a, b reflect.Value, path string, visit func(key string, restart bool)) {
	for _, name := range groupNames(a, b) {
		x, y := a.MapIndex(reflect.ValueOf(name)), b.MapIndex(reflect.ValueOf(name))
		if key := join(path, name); x.IsValid() && y.IsValid() {
			compare(x, y, key, visit)
		} else {
			visit(key, false)
		}
	}
}

// keepGroups copies the restart keys of the groups in b to those of the same name in a.
func keepGroups(a, b reflect.Value) {
	if a.IsNil() {
		return
	}
	fresh := reflect.MakeMap(a.Type())
	for _, name := range groupNames(a) {
		key := reflect.ValueOf(name)
		group := reflect.New(a.Type().Elem()).Elem()
		group.Set(a.MapIndex(key))
		if old := b.MapIndex(key); old.IsValid() {
			keep(group, old)
		}
		fresh.SetMapIndex(key, group)
	}
	a.Set(fresh)
}

// groupNames returns the names of the groups in any of the maps, sorted.
func groupNames(groups ...reflect.Value) []string {
	names := map[string]bool{}
	for _, g := range groups {
		for _, key := range g.MapKeys() {
			names[key.String()] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
