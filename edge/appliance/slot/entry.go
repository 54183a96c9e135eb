package slot

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Uncounted is the number of boot attempts left of an entry whose name has no counter.
const Uncounted = -1

// Attempts is how often the loader boots an entry before it treats it as bad.
const Attempts = 3

// Entry is a boot entry: a unified kernel image in the folder EFI/Linux of the ESP. Its name
// carries the loader's boot counter.
type Entry struct {
	File    string // its name in the folder; "": none yet, see Name
	Version string
	Left    int // boot attempts left; 0: the loader boots it last; Uncounted: it has no counter
	Done    int // boot attempts made
}

const (
	entryPrefix = "anymx_"
	entrySuffix = ".efi"
	maxAttempts = 99 // in a name; the loader's own are one or two digits
)

// ParseEntry reads the name of a boot entry: anymx_<version>[+<left>[-<done>]].efi.
func ParseEntry(name string) (e Entry, ok bool) {
	rest, ok := strings.CutPrefix(name, entryPrefix)
	if !ok {
		return e, false
	}
	if rest, ok = strings.CutSuffix(rest, entrySuffix); !ok {
		return e, false
	}
	e = Entry{File: name, Left: Uncounted}
	version, counter, counted := strings.Cut(rest, "+")
	e.Version = version
	if counted {
		left, done, both := strings.Cut(counter, "-")
		if e.Left, ok = parseAttempts(left); !ok {
			return Entry{}, false
		}
		if both {
			if e.Done, ok = parseAttempts(done); !ok {
				return Entry{}, false
			}
		}
	}
	if !ValidVersion(e.Version) {
		return Entry{}, false
	}
	return e, true
}

func parseAttempts(s string) (int, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil && n <= maxAttempts
}

// Name returns the file name of an entry with these counts.
func (e Entry) Name() string {
	name := entryPrefix + e.Version
	if e.Left != Uncounted {
		name += "+" + strconv.Itoa(e.Left)
		if e.Done > 0 {
			name += "-" + strconv.Itoa(e.Done)
		}
	}
	return name + entrySuffix
}

// Armed returns the entry with all its boot attempts.
func (e Entry) Armed() Entry { return Entry{File: e.File, Version: e.Version, Left: Attempts} }

// Lowered returns the entry with no boot attempt left: the loader boots it after those that have
// some.
func (e Entry) Lowered() Entry {
	return Entry{File: e.File, Version: e.Version, Done: max(1, e.Done)}
}

// LoaderOrder sorts entries as the loader does, which boots the first: those with no attempt left
// come last, and newer versions before older ones (systemd-boot(7), "Boot Counting", and the Boot
// Loader Specification, "Sorting").
func LoaderOrder(entries []Entry) []Entry {
	sorted := slices.Clone(entries)
	slices.SortStableFunc(sorted, func(a, b Entry) int {
		return cmp.Or(
			cmp.Compare(bad(a), bad(b)),
			-Compare(a.Version, b.Version),
			-cmp.Compare(uint(a.Left), uint(b.Left)), // uncounted before counted
			cmp.Compare(a.Done, b.Done),
		)
	})
	return sorted
}

func bad(e Entry) int {
	if e.Left == 0 {
		return 1
	}
	return 0
}
