package machine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"anymx/edge/statefile"
)

// Outcomes of an update, in their order. The record keeps the names that older versions wrote: the
// version in the other slot reads it too.
const (
	outcomeWriting   = "writing" // the slot is being written
	outcomeStaged    = "staged"  // written and read back; not booted yet
	outcomeBooted    = "booted"  // it runs, or has run
	outcomeConfirmed = "proven"
	outcomeBack      = "back" // the machine is back at the previous version
)

// record is the last update that was written into a slot.
type record struct {
	Version  string    `json:"version"`
	RootHash string    `json:"root_hash"`
	From     string    `json:"from"` // the version that ran
	Staged   time.Time `json:"staged"`
	// Edge means that anymx-edge responded then, Peers which BGP peers had a session: the same is
	// required of the new version.
	Edge    bool         `json:"edge"`
	Peers   []netip.Addr `json:"peers"`
	Outcome string       `json:"outcome"`
	Ended   time.Time    `json:"ended,omitzero"`
}

// of reports whether the record is about an update to a version.
func (r *record) of(version string) bool { return r != nil && r.Version == version }

// confirmedVersion is a version that has carried mail on this machine.
type confirmedVersion struct {
	Version  string    `json:"version"`
	RootHash string    `json:"root_hash"`
	At       time.Time `json:"at"`
}

type confirmedList []confirmedVersion

// maxConfirmed is how many versions are stored: there are two slots.
const maxConfirmed = 16

func (l confirmedList) has(version, rootHash string) bool {
	return slices.ContainsFunc(l, func(p confirmedVersion) bool { return p.Version == version && p.RootHash == rootHash })
}

// records are the files that store all this.
type records struct{ dir string }

const maxRecord = 64 << 10 // bytes

func (r records) file(name string) statefile.File {
	return statefile.File(filepath.Join(r.dir, name))
}

const (
	lastFile      = "update.json"
	confirmedFile = "proven"
)

// last returns the last update; nil: none.
func (r records) last() (*record, error) {
	var last record
	ok, err := r.read(lastFile, &last)
	if !ok {
		return nil, err
	}
	return &last, nil
}

func (r records) setLast(last *record) error { return r.write(lastFile, last) }

func (r records) confirmed() (confirmedList, error) {
	var list confirmedList
	_, err := r.read(confirmedFile, &list)
	return list, err
}

// addConfirmed stores a version, and drops the oldest if there are too many.
func (r records) addConfirmed(p confirmedVersion) error {
	list, err := r.confirmed()
	if err != nil || list.has(p.Version, p.RootHash) {
		return err
	}
	list = append(list, p)
	return r.write(confirmedFile, list[max(0, len(list)-maxConfirmed):])
}

// read reads a file; ok is false if there is none.
func (r records) read(name string, into any) (ok bool, err error) {
	text, err := r.file(name).Read(maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", filepath.Join(r.dir, name), err)
	}
	return true, nil
}

func (r records) write(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return r.file(name).Write(append(text, '\n'))
}

// lock keeps the other process of this program, which serves or confirms, away from boot entries
// and records until unlock is called.
func (r records) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(r.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock: %w", err), f.Close())
	}
	return func() { f.Close() }, nil
}
