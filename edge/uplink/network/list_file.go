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

// Limits on what commands may list. A file has room for more.
const (
	maxEntries  = 10_000
	maxReason   = 200 // bytes
	maxKeptFile = 16 << 20
)

// Where a listed prefix comes from, besides files.
const (
	fromCommand = "command"
	fromKernel  = "unknown" // in the kernel, but on no list
)

// commandList is what commands have listed, by prefix.
type commandList map[netip.Prefix]api.ShieldEntry

// listFile is the file in which that survives restarts.
type listFile string

// listRecord is the content of the file.
type listRecord struct {
	Version int               `json:"version"` // 1
	Entries []api.ShieldEntry `json:"entries"`
}

// checkEntry normalizes e for storage, or returns why it is invalid.
func checkEntry(e api.ShieldEntry, now time.Time) (api.ShieldEntry, error) {
	p, err := checkPrefix(e.Prefix)
	control := func(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }
	switch {
	case err != nil:
	case !e.Until.IsZero() && !e.Until.After(now):
		err = fmt.Errorf("until %s is in the past", e.Until.Format(time.RFC3339))
	case len(e.Reason) > maxReason:
		err = fmt.Errorf("the reason is longer than %d bytes", maxReason)
	case strings.ContainsFunc(e.Reason, control):
		err = errors.New("the reason must be one line of text")
	}
	e.Prefix, e.Source = p, fromCommand
	return e, err
}

// checkPrefix masks p, or returns why it can't be listed.
func checkPrefix(p netip.Prefix) (netip.Prefix, error) {
	if !p.IsValid() || p.Addr().Is4In6() {
		return p, fmt.Errorf("prefix %q can't be listed", p)
	}
	return p.Masked(), nil
}

// load reads what has not expired. A missing file is an empty list. An unreadable file is set
// aside, so that it is not overwritten, and named in the error; the list is empty then.
func (f listFile) load(now time.Time) (commandList, error) {
	list, err := f.read(now)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return list, nil
	}
	aside := string(f) + ".corrupt"
	err = fmt.Errorf("the lists of blocked and allowed prefixes are unreadable, set aside as %s: %w", aside, err)
	return commandList{}, oneLine([]error{err, os.Rename(string(f), aside)})
}

func (f listFile) read(now time.Time) (commandList, error) {
	list := commandList{}
	text, err := service.ReadFile(string(f), maxKeptFile)
	if err != nil {
		return list, err
	}
	var r listRecord
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	if r.Version != 1 {
		return nil, fmt.Errorf("unknown version %d", r.Version)
	}
	if len(r.Entries) > maxEntries {
		return nil, fmt.Errorf("more than %d entries", maxEntries)
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

// save replaces the file's content with list. When it returns nil, that is on stable storage.
func (f listFile) save(list commandList) error {
	r := listRecord{Version: 1, Entries: slices.SortedFunc(maps.Values(list), byPrefix)}
	for i := range r.Entries {
		r.Entries[i].Source = "" // always a command
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = f.replace(text)
	}
	if err != nil {
		return fmt.Errorf("storing the lists: %w", err)
	}
	return nil
}

func (f listFile) replace(text []byte) error {
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
