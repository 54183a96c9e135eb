package network

import (
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"time"

	"anymx/edge/operate/api"
	"anymx/xdp"
)

// lists is who is blocked and who is allowed, whoever said so: a command comes
// before the file of the allowed, and that before the file of the blocked. Its
// owner calls one method at a time.
type lists struct {
	log    *slog.Logger
	store  keptFile
	kept   kept
	allow  *prefixFile
	block  *prefixFile
	broken error // why store could not be read; until the next reload
	lost   bool  // store could not be read
	fault  error // why the kernel has not all of it; it is tried again
}

// openLists reads what was kept. The files are read by look.
func openLists(store keptFile, log *slog.Logger, now time.Time) *lists {
	l := &lists{log: log, store: store, allow: &prefixFile{}, block: &prefixFile{}}
	if l.kept, l.broken = store.load(now); l.broken != nil {
		l.lost = true
		log.Error("lists", "err", l.broken)
	}
	return l
}

// of is what is wanted of a prefix.
func (l *lists) of(p netip.Prefix) (api.ShieldEntry, bool) {
	if e, ok := l.kept[p]; ok {
		return e, true
	}
	if _, ok := l.allow.list[p]; ok {
		return api.ShieldEntry{Prefix: p, Allowed: true, Source: l.allow.path}, true
	}
	_, ok := l.block.list[p]
	return api.ShieldEntry{Prefix: p, Source: l.block.path}, ok
}

// all is what is wanted, each prefix once.
func (l *lists) all() iter.Seq[api.ShieldEntry] {
	return func(yield func(api.ShieldEntry) bool) {
		for _, e := range l.kept {
			if !yield(e) {
				return
			}
		}
		for _, f := range []*prefixFile{l.allow, l.block} {
			for p := range f.list {
				// A prefix of an earlier source was given already.
				if e, _ := l.of(p); e.Source == f.path && !yield(e) {
					return
				}
			}
		}
	}
}

// sure says whether what stands in the kernel and is not wanted may go. It may
// not while a list was never read: it could come from there.
func (l *lists) sure() bool { return !l.lost && l.allow.good && l.block.good }

// prepare reads the files under other names than those in use, without a change
// to what is in force.
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

// together refuses lists that the kernel has no room for.
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
		return fmt.Errorf("shield.allow_file and shield.block_file hold %d prefixes of one IP version together, more than %d", most, xdp.MaxListed)
	}
	return nil
}

// look takes the files as they are now, drops what has expired, and returns the
// prefixes of which something else is wanted than before. first says that a file
// is good that never was: all has to be compared then.
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
			l.log.Error("a list is wrong; nothing of it is changed", "err", f.problem)
		}
		if !fresh || f.problem != nil {
			continue
		}
		gone, come := without(f.list, list), without(list, f.list)
		first = first || !f.good
		f.list, f.good = list, true
		if f.path != "" {
			l.log.Info("a list was read", "file", f.path, "prefixes", len(list), "new", len(come), "gone", len(gone))
		}
		touched = append(append(touched, gone...), come...)
	}
	return touched, first
}

// other is the other list.
func (l *lists) other(f *prefixFile) *prefixFile {
	if f == l.allow {
		return l.block
	}
	return l.allow
}

// without lists what of a is not in b.
func without(a, b prefixes) (left []netip.Prefix) {
	for p := range a {
		if _, stays := b[p]; !stays {
			left = append(left, p)
		}
	}
	return left
}

// expire drops what commands have listed for a time that is over.
func (l *lists) expire(now time.Time) (touched []netip.Prefix) {
	for p, e := range l.kept {
		if !e.Until.IsZero() && !e.Until.After(now) {
			l.log.Info("no longer listed", "prefix", p, "allowed", e.Allowed)
			delete(l.kept, p)
			touched = append(touched, p)
		}
	}
	if len(touched) > 0 {
		if err := l.store.save(l.kept); err != nil { // the next start drops them too
			l.log.Error("what has expired is still in the file", "err", err)
		}
	}
	return touched
}

// list keeps an entry. When it returns nil, that is on stable storage.
func (l *lists) list(e api.ShieldEntry, now time.Time) (api.ShieldEntry, error) {
	e, err := checkEntry(e, now)
	if err != nil {
		return e, badRequest(err)
	}
	if _, known := l.kept[e.Prefix]; !known && len(l.kept) >= maxKept {
		return e, badRequest(fmt.Errorf("commands have listed %d prefixes, and there is room for no more: put them into a file", maxKept))
	}
	if _, known := l.of(e.Prefix); !known && l.count(version(e.Prefix)) >= xdp.MaxListed {
		return e, badRequest(xdp.ErrListFull)
	}
	next := maps.Clone(l.kept)
	next[e.Prefix] = e
	if err := l.store.save(next); err != nil {
		return e, err
	}
	l.kept = next
	return e, nil
}

// count is how many prefixes of an IP version are wanted.
func (l *lists) count(of int) (n int) {
	for e := range l.all() {
		if version(e.Prefix) == of {
			n++
		}
	}
	return n
}

// unlist takes back what a command has listed. When it returns nil, that is on
// stable storage.
func (l *lists) unlist(p netip.Prefix) (removed bool, err error) {
	if _, ok := l.kept[p]; !ok {
		if e, ok := l.of(p); ok {
			return false, badRequest(fmt.Errorf("%s stands in %s: take it out there", p, e.Source))
		}
		return false, nil
	}
	next := maps.Clone(l.kept)
	delete(next, p)
	if err := l.store.save(next); err != nil {
		return false, err
	}
	l.kept = next
	return true, nil
}

// place makes the kernel do what is wanted of these prefixes.
func (l *lists) place(to *xdp.Shield, touched []netip.Prefix) error {
	var faults []error
	var rest []api.ShieldEntry
	for _, p := range touched { // what goes makes room
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
	if more := len(faults) - told; more > 0 {
		faults = append(faults[:told], fmt.Errorf("and %d more", more))
	}
	before := l.fault
	if err := oneLine(faults); err != nil {
		l.fault = fmt.Errorf("not all that is listed is in force: %w", err)
		if before == nil || before.Error() != l.fault.Error() {
			l.log.Error("lists", "err", l.fault)
		}
		return l.fault
	}
	return nil
}

// placeAll compares all with what the kernel has, and makes it do what is wanted.
func (l *lists) placeAll(to *xdp.Shield) error {
	l.fault = nil
	have := to.Lists()
	if l.lost && l.allow.good && l.block.good {
		l.recover(have)
	}
	return l.place(to, l.differences(have))
}

// recover takes what the kernel has, and no file says, for what commands have
// listed.
func (l *lists) recover(have []xdp.Listed) {
	next := maps.Clone(l.kept)
	for _, h := range have {
		if _, known := l.of(h.Prefix); !known {
			next[h.Prefix] = api.ShieldEntry{Prefix: h.Prefix, Allowed: h.Allowed, Until: h.Until, Source: fromCommand, Reason: "found in the kernel"}
		}
	}
	found := len(next) - len(l.kept)
	if len(next) > maxKept {
		l.log.Error("the kernel has more prefixes than commands can list: they stay, and nobody knows why", "prefixes", found)
		return
	}
	if err := l.store.save(next); err != nil {
		l.log.Error("lists", "err", err)
		return
	}
	l.kept, l.lost = next, false
	l.log.Warn("what commands have listed was taken from the kernel", "prefixes", found)
}

// differences are the prefixes of which the kernel has something else than what
// is wanted. Pure.
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

// sameTime compares two ends, one of which was read from a clock that ticks
// coarsely, and stands still while the machine sleeps.
func sameTime(a, b time.Time) bool {
	if a.IsZero() || b.IsZero() {
		return a.IsZero() == b.IsZero()
	}
	return a.Sub(b).Abs() < time.Second
}

// entries is all that is listed, in order. What the kernel has besides is told
// too: it drops packets.
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

func badRequest(err error) error {
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	return &api.Error{Code: api.BadRequest, Text: err.Error()}
}
