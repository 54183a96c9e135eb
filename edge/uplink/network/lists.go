package network

import (
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/refusal"
	"anymx/xdp"
)

// lists are the blocked and the allowed prefixes from all sources: a command precedes the file of
// allowed ones, and that the file of blocked ones. Its owner calls one method at a time.
type lists struct {
	log       *slog.Logger
	store     listFile
	byCommand commandList
	allow     *prefixFile
	block     *prefixFile
	broken    error // why store could not be read; until the next reload
	lost      bool  // store could not be read
	fault     error // why the kernel lacks part of it; it is retried
}

// openLists reads what is stored. look reads the files.
func openLists(store listFile, log *slog.Logger, now time.Time) *lists {
	l := &lists{log: log, store: store, allow: &prefixFile{}, block: &prefixFile{}}
	if l.byCommand, l.broken = store.load(now); l.broken != nil {
		l.lost = true
		log.Error("reading the lists failed", "err", l.broken)
	}
	return l
}

// of returns the wanted entry of a prefix.
func (l *lists) of(p netip.Prefix) (api.ShieldEntry, bool) {
	if e, ok := l.byCommand[p]; ok {
		return e, true
	}
	if _, ok := l.allow.list[p]; ok {
		return api.ShieldEntry{Prefix: p, Allowed: true, Source: l.allow.path}, true
	}
	_, ok := l.block.list[p]
	return api.ShieldEntry{Prefix: p, Source: l.block.path}, ok
}

// all yields the wanted entries, each prefix once.
func (l *lists) all() iter.Seq[api.ShieldEntry] {
	return func(yield func(api.ShieldEntry) bool) {
		for _, e := range l.byCommand {
			if !yield(e) {
				return
			}
		}
		for _, f := range []*prefixFile{l.allow, l.block} {
			for p := range f.list {
				// An earlier source has yielded this prefix.
				if e, _ := l.of(p); e.Source == f.path && !yield(e) {
					return
				}
			}
		}
	}
}

// sure reports whether prefixes in the kernel that are on no list may be removed. They may not
// while a list was never read: they could come from it.
func (l *lists) sure() bool { return !l.lost && l.allow.good && l.block.good }

// prepare reads the files under names other than those in use, without changing what is in force.
func (l *lists) prepare(allow, block string) (newAllow, newBlock *prefixFile, err error) {
	fresh := func(now *prefixFile, key, path string) *prefixFile {
		if now.path == path && now.key != "" {
			return now
		}
		f := &prefixFile{key: key, path: path}
		if list, ok := f.look(); ok {
			f.list, f.good = list, true
		}
		return f
	}
	newAllow, newBlock = fresh(l.allow, "shield.allow_file", allow), fresh(l.block, "shield.block_file", block)
	var faults []error
	for new, now := range map[*prefixFile]*prefixFile{newAllow: l.allow, newBlock: l.block} {
		if new != now {
			faults = append(faults, new.problem)
		}
	}
	if err = oneLine(faults); err == nil {
		if err = together(newAllow.list, newBlock.list); err != nil && newBlock != l.block {
			newBlock.list, newBlock.good = nil, false
			newBlock.refuse(err)
		}
	}
	return newAllow, newBlock, err
}

// together refuses lists that exceed the kernel's maps.
func together(allow, block prefixes) error {
	if len(allow)+len(block) <= xdp.MaxListed {
		return nil
	}
	counts := [2]int{}
	for p := range allow {
		counts[version(p)]++
	}
	for p := range block {
		if _, twice := allow[p]; !twice {
			counts[version(p)]++
		}
	}
	if most := max(counts[0], counts[1]); most > xdp.MaxListed {
		return fmt.Errorf("shield.allow_file and shield.block_file together hold %d prefixes of one IP version; the limit is %d", most, xdp.MaxListed)
	}
	return nil
}

// look reads the files, drops what has expired, and returns the prefixes whose wanted entry has
// changed. first reports that a file was read for the first time: then everything has to be
// compared.
func (l *lists) look(now time.Time) (touched []netip.Prefix, first bool) {
	touched = l.expire(now)
	for _, f := range []*prefixFile{l.allow, l.block} {
		before := f.problem
		list, fresh := f.look()
		if fresh {
			f.problem = nil
			f.refuse(together(list, l.other(f).list))
		}
		if f.problem != nil && (before == nil || before.Error() != f.problem.Error()) {
			l.log.Error("a prefix list is invalid; the previous one stays in force", "err", f.problem)
		}
		if !fresh || f.problem != nil {
			continue
		}
		gone, come := without(f.list, list), without(list, f.list)
		first = first || !f.good
		f.list, f.good = list, true
		if f.path != "" {
			l.log.Info("prefix list read", "file", f.path, "prefixes", len(list), "added", len(come), "removed", len(gone))
		}
		touched = append(append(touched, gone...), come...)
	}
	return touched, first
}

// other returns the other list.
func (l *lists) other(f *prefixFile) *prefixFile {
	if f == l.allow {
		return l.block
	}
	return l.allow
}

// without returns the prefixes of a that are not in b.
func without(a, b prefixes) (left []netip.Prefix) {
	for p := range a {
		if _, stays := b[p]; !stays {
			left = append(left, p)
		}
	}
	return left
}

// expire drops entries of commands whose time is over.
func (l *lists) expire(now time.Time) (touched []netip.Prefix) {
	for p, e := range l.byCommand {
		if !e.Until.IsZero() && !e.Until.After(now) {
			l.log.Info("list entry expired", "prefix", p, "allowed", e.Allowed)
			delete(l.byCommand, p)
			touched = append(touched, p)
		}
	}
	if len(touched) > 0 {
		if err := l.store.save(l.byCommand); err != nil { // the next start drops them too
			l.log.Error("removing expired entries from the file failed", "err", err)
		}
	}
	return touched
}

// list stores an entry. When it returns nil, that is on stable storage.
func (l *lists) list(e api.ShieldEntry, now time.Time) (api.ShieldEntry, error) {
	e, err := checkEntry(e, now)
	if err != nil {
		return e, refusal.Invalid.Wrap(err)
	}
	if _, known := l.byCommand[e.Prefix]; !known && len(l.byCommand) >= maxEntries {
		return e, refusal.Invalid.Errorf("the limit of %d prefixes listed by commands is reached: use a file instead", maxEntries)
	}
	if _, known := l.of(e.Prefix); !known && l.count(version(e.Prefix)) >= xdp.MaxListed {
		return e, refusal.Invalid.Wrap(xdp.ErrListFull)
	}
	next := maps.Clone(l.byCommand)
	next[e.Prefix] = e
	if err := l.store.save(next); err != nil {
		return e, err
	}
	l.byCommand = next
	return e, nil
}

// count returns the number of wanted prefixes of an IP version.
func (l *lists) count(of int) (n int) {
	for e := range l.all() {
		if version(e.Prefix) == of {
			n++
		}
	}
	return n
}

// unlist removes an entry that a command has listed. When it returns nil, that is on stable
// storage.
func (l *lists) unlist(p netip.Prefix) (removed bool, err error) {
	if _, ok := l.byCommand[p]; !ok {
		if e, ok := l.of(p); ok {
			return false, refusal.Invalid.Errorf("%s is listed in the file %s: remove it there", p, e.Source)
		}
		return false, nil
	}
	next := maps.Clone(l.byCommand)
	delete(next, p)
	if err := l.store.save(next); err != nil {
		return false, err
	}
	l.byCommand = next
	return true, nil
}

// enforce writes the wanted entries of these prefixes to the kernel.
func (l *lists) enforce(to *xdp.Shield, touched []netip.Prefix) error {
	var faults []error
	var rest []api.ShieldEntry
	for _, p := range touched { // removals first: they make room
		if e, ok := l.of(p); ok {
			rest = append(rest, e)
		} else if _, err := to.Unlist(p); err != nil {
			faults = append(faults, err)
		}
	}
	for _, e := range rest {
		put := to.Block
		if e.Allowed {
			put = to.Allow
		}
		if err := put(e.Prefix, e.Until); err != nil {
			faults = append(faults, err)
		}
	}
	if more := len(faults) - maxShown; more > 0 {
		faults = append(faults[:maxShown], fmt.Errorf("and %d more", more))
	}
	before := l.fault
	if err := oneLine(faults); err != nil {
		l.fault = fmt.Errorf("some listed prefixes are not in force: %w", err)
		if before == nil || before.Error() != l.fault.Error() {
			l.log.Error("writing the lists to the kernel failed", "err", l.fault)
		}
		return l.fault
	}
	return nil
}

// enforceAll compares everything with the kernel, and writes what differs.
func (l *lists) enforceAll(to *xdp.Shield) error {
	l.fault = nil
	have := to.Lists()
	if l.lost && l.allow.good && l.block.good {
		l.recover(have)
	}
	return l.enforce(to, l.differences(have))
}

// recover treats prefixes that are in the kernel and in no file as listed by commands.
func (l *lists) recover(have []xdp.Listed) {
	next := maps.Clone(l.byCommand)
	for _, h := range have {
		if _, known := l.of(h.Prefix); !known {
			next[h.Prefix] = api.ShieldEntry{Prefix: h.Prefix, Allowed: h.Allowed, Until: h.Until, Source: fromCommand, Reason: "found in the kernel"}
		}
	}
	found := len(next) - len(l.byCommand)
	if len(next) > maxEntries {
		l.log.Error("the kernel holds more unlisted prefixes than commands can list; they stay without an entry", "prefixes", found)
		return
	}
	if err := l.store.save(next); err != nil {
		l.log.Error("storing the lists failed", "err", err)
		return
	}
	l.byCommand, l.lost = next, false
	l.log.Warn("restored the list of commands from the kernel", "prefixes", found)
}

// differences returns the prefixes whose entry in the kernel differs from the wanted one. Pure.
func (l *lists) differences(have []xdp.Listed) (touched []netip.Prefix) {
	there := make(map[netip.Prefix]xdp.Listed, len(have))
	for _, h := range have {
		there[h.Prefix] = h
	}
	for e := range l.all() {
		h, ok := there[e.Prefix]
		delete(there, e.Prefix)
		if !ok || h.Allowed != e.Allowed || !sameTime(h.Until, e.Until) {
			touched = append(touched, e.Prefix)
		}
	}
	if l.sure() {
		touched = slices.AppendSeq(touched, maps.Keys(there))
	}
	return touched
}

// sameTime compares two expiry times, one of which was read from a coarse clock that stops while
// the machine sleeps.
func sameTime(a, b time.Time) bool {
	if a.IsZero() || b.IsZero() {
		return a.IsZero() == b.IsZero()
	}
	return a.Sub(b).Abs() < time.Second
}

// entries returns all that is listed, sorted. It includes what only the kernel has, since that
// drops packets.
func (l *lists) entries(have []xdp.Listed) []api.ShieldEntry {
	all := slices.AppendSeq([]api.ShieldEntry{}, l.all())
	for _, h := range have {
		if _, known := l.of(h.Prefix); !known {
			all = append(all, api.ShieldEntry{Prefix: h.Prefix, Allowed: h.Allowed, Until: h.Until, Source: fromKernel})
		}
	}
	slices.SortFunc(all, byPrefix)
	return all
}

// problem is what is wrong with any of it.
func (l *lists) problem() error {
	return oneLine([]error{l.broken, l.allow.problem, l.block.problem, l.fault})
}
