// Package slot finds the versions of a node's image on its disk: each in a slot, which is a
// partition for its root and one for the hash tree that protects it, with a boot entry in the ESP.
//
// What happens to the data:
//
//  1. A System reads what is there (system.go): the partition table of the disk
//     that the running root is on, the names in the ESP's EFI/Linux, the running
//     version and its root hash. It never writes the partition table:
//     systemd-sysupdate does.
//  2. Arrange sorts that out (this file): which slot runs, which is the
//     other one, whether it is whole, and what the loader boots next.
//  3. Renaming boot entries (rename.go) is all that this package writes. The
//     name of an entry is its boot counter (entry.go), so a rename arms an
//     entry again, or moves it after the others.
//
// A slot is empty if its partitions are labelled "_empty"; the next version is written there.
// Labels are anymx_<version> and anymx_<version>_verity.
package slot

import (
	"slices"
	"strings"
)

const (
	labelPrefix  = "anymx_"
	veritySuffix = "_verity"
)

// Slot is the storage of one version.
type Slot struct {
	// Version is the one whose root is in it; "": none, or one that was not completely written.
	Version string
	Running bool
	Root    Partition // the zero Partition: the disk has none for it
	Verity  Partition
	// Entry is its boot entry; nil: it can't be booted.
	Entry *Entry
	// Spare are further entries of the same version, which a power cut during a rename may leave.
	// They are in the loader's order.
	Spare []Entry
}

// Whole reports whether the slot has its partitions and a boot entry.
func (s *Slot) Whole() bool { return s != nil && s.Version != "" && s.Entry != nil }

// Bootable reports whether the slot is whole and has boot attempts left.
func (s *Slot) Bootable() bool { return s.Whole() && s.Entry.Left != 0 }

// State describes what is in the slot.
func (s *Slot) State() string {
	switch {
	case s.Running:
		return "running"
	case s.Whole():
		return "whole"
	case s.Version == "" && s.Entry == nil && s.Root.Label == "_empty" && s.Verity.Label == "_empty":
		return "empty"
	}
	return "incomplete"
}

// Table is all slots of a disk.
type Table struct {
	Disk     string // the device
	ESP      string // where it is mounted
	Version  string // the running one
	RootHash string // of the running version
	Slots    []Slot // the running one first
	// Stray are entries of versions that are in no slot.
	Stray []Entry
}

// Running returns the running slot, or nil on a machine that is not an appliance.
func (t *Table) Running() *Slot {
	if len(t.Slots) > 0 && t.Slots[0].Running {
		return &t.Slots[0]
	}
	return nil
}

// Other returns the slot that is not running, or nil.
func (t *Table) Other() *Slot {
	for i := range t.Slots {
		if !t.Slots[i].Running {
			return &t.Slots[i]
		}
	}
	return nil
}

// Entries returns all of the ESP, in the loader's order.
func (t *Table) Entries() []Entry {
	all := slices.Clone(t.Stray)
	for i := range t.Slots {
		if t.Slots[i].Entry != nil {
			all = append(all, *t.Slots[i].Entry)
		}
		all = append(all, t.Slots[i].Spare...)
	}
	return LoaderOrder(all)
}

// Next returns the version that the loader boots next, or "" if it finds none.
func (t *Table) Next() string {
	if all := t.Entries(); len(all) > 0 {
		return all[0].Version
	}
	return ""
}

// Arrange makes slots of partitions and entries. running is the running version. Its two partitions
// are a slot, and so are the remaining ones, in order.
func Arrange(running string, partitions []Partition, entries []Entry) (slots []Slot, stray []Entry) {
	var roots, trees []Partition
	for _, p := range slices.SortedFunc(slices.Values(partitions), byNumber) {
		switch p.Type {
		case RootType:
			roots = append(roots, p)
		case VerityType:
			trees = append(trees, p)
		}
	}
	first := Slot{Version: running, Running: true}
	var okRoot, okTree bool
	roots, first.Root, okRoot = without(roots, labelPrefix+running)
	trees, first.Verity, okTree = without(trees, labelPrefix+running+veritySuffix)
	if running != "" && okRoot && okTree {
		slots = append(slots, first)
	}
	for i := range max(len(roots), len(trees)) {
		var s Slot
		if i < len(roots) {
			s.Root = roots[i]
		}
		if i < len(trees) {
			s.Verity = trees[i]
		}
		if v, ok := strings.CutPrefix(s.Root.Label, labelPrefix); ok && ValidVersion(v) && s.Verity.Label == s.Root.Label+veritySuffix {
			s.Version = v
		}
		slots = append(slots, s)
	}
	for _, e := range LoaderOrder(entries) {
		i := slices.IndexFunc(slots, func(s Slot) bool { return s.Version == e.Version })
		switch {
		case i < 0:
			stray = append(stray, e)
		case slots[i].Entry == nil:
			slots[i].Entry = &e
		default:
			slots[i].Spare = append(slots[i].Spare, e)
		}
	}
	return slots, stray
}

// without removes the partition with a label from list.
func without(list []Partition, label string) (rest []Partition, p Partition, ok bool) {
	i := slices.IndexFunc(list, func(p Partition) bool { return p.Label == label })
	if i < 0 {
		return list, p, false
	}
	return slices.Delete(slices.Clone(list), i, i+1), list[i], true
}
