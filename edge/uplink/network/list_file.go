package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"anymx/edge/operate/api"
	"anymx/edge/service"
	"anymx/edge/statefile"
)

// Limits of what commands may list. A file has room for more.
const (
	maxKept     = 10_000
	maxReason   = 200 // octets
	maxKeptFile = 16 << 20
)

// Where a listed prefix comes from, besides files.
const (
	fromCommand = "command"
	fromKernel  = "unknown" // in the kernel, and nobody says why
)

// kept is what commands have listed, by prefix.
type kept map[netip.Prefix]api.ShieldEntry

// keptFile is where it outlives restarts.
type keptFile string

// keptRecord is what stands in the file.
type keptRecord struct {
	Version int               `json:"version"` // 1
	Entries []api.ShieldEntry `json:"entries"`
}

// checkEntry makes e fit to be kept, or says why it is not.
func checkEntry(e api.ShieldEntry, now time.Time) (api.ShieldEntry, error) {
	p, err := checkPrefix(e.Prefix)
	control := func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }
	switch {
	case err != nil:
	case !e.Until.IsZero() && !e.Until.After(now):
		err = fmt.Errorf("until %s: that time is over", e.Until.Format(time.RFC3339))
	case len(e.Reason) > maxReason:
		err = fmt.Errorf("the reason is longer than %d octets", maxReason)
	case strings.ContainsFunc(e.Reason, control):
		err = errors.New("the reason is not one line of text")
	}
	e.Prefix, e.Source = p, fromCommand
	return e, err
}

// checkPrefix masks p, or says why it can't be listed.
func checkPrefix(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() || p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is no prefix that can be listed", p)
	}
	return p.Masked(), nil
}

// load reads what has not expired. No file is an empty list. A file that can't be
// understood is put aside, where nothing is written over it, and the error says
// so; the list is empty then.
func (f keptFile) load(now time.Time) (kept, error) {
	list, err := f.read(now)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return list, nil
	}
	aside := string(f) + ".corrupt"
	err = fmt.Errorf("what commands have listed cannot be read, and is put aside as %s: %w", aside, err)
	return kept{}, oneLine([]error{err, os.Rename(string(f), aside)})
}

func (f keptFile) read(now time.Time) (kept, error) {
	list := kept{}
	text, err := service.ReadFile(string(f), maxKeptFile)
	if err != nil {
		return list, err
	}
	var r keptRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	if r.Version != 1 {
		return nil, fmt.Errorf("version %d is unknown", r.Version)
	}
	if len(r.Entries) > maxKept {
		return nil, fmt.Errorf("it has more than %d entries", maxKept)
	}
	for i, e := range r.Entries {
		if !e.Until.IsZero() && !e.Until.After(now) {
			continue
		}
		if e, err = checkEntry(e, now); err != nil {
			return nil, fmt.Errorf("entry %d: %w", i, err)
		}
		list[e.Prefix] = e
	}
	return list, nil
}

// save makes the file say list, at once and whole. When it returns nil, that is on
// stable storage.
func (f keptFile) save(list kept) error {
	r := keptRecord{Version: 1, Entries: slices.SortedFunc(maps.Values(list), byPrefix)}
	for i := range r.Entries {
		r.Entries[i].Source = "" // which it is, they all are
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = f.replace(text)
	}
	if err != nil {
		return fmt.Errorf("keeping the lists: %w", err)
	}
	return nil
}

func (f keptFile) replace(text []byte) error {
	dir := filepath.Dir(string(f))
	_, err := os.Stat(dir)
	absent := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := statefile.File(f).Write(append(text, '\n')); err != nil || !absent {
		return err
	}
	return statefile.SyncDir(filepath.Dir(dir))
}

func byPrefix(a, b api.ShieldEntry) int { return a.Prefix.Compare(b.Prefix) }
