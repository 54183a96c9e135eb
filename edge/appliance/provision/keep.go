package provision

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"anymx/edge/statefile"
)

// Only configs from a file system are copied to /var: a stick is removed, and the node must boot
// without it. A credential comes again with each boot, and no longer giving it means that the node
// should not have it any more; and the ESP stays where it is.

// keptTree is the folder of the copied bundle in keptDir, keptMark the file that says where it came
// from.
const (
	keptTree = "tree"
	keptMark = "kept.json"
)

// mark records where the copy came from.
type mark struct {
	Source string    `json:"source"`
	At     time.Time `json:"at"`
}

// keep copies a good bundle to /var, unless it is there already: a new folder, synced, replaces the
// old one.
func (o Options) keep(r *Report, t Bundle) error {
	dir := o.path(keptDir)
	if old, err := readKept(dir); err == nil && maps.EqualFunc(old.Files, t.Files, bytes.Equal) {
		return nil
	}
	next := dir + aside
	if err := os.RemoveAll(next); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	text, err := json.Marshal(mark{Source: r.Source, At: r.At})
	if err != nil {
		return err
	}
	if err := keepFile(filepath.Join(next, keptMark), text); err != nil {
		return err
	}
	for _, name := range t.Names() {
		if err := keepFile(filepath.Join(next, keptTree, name), t.Files[name]); err != nil {
			return err
		}
	}
	if err := syncDirs(next); err != nil {
		return err
	}
	if err := swap(next, dir); err != nil {
		return err
	}
	return statefile.SyncDir(filepath.Dir(dir))
}

func keepFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return statefile.File(path).Write(data)
}

// syncDirs writes the names in all folders below top to stable storage.
func syncDirs(top string) error {
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = statefile.SyncDir(path)
		}
		return err
	})
}

// readKept reads the copy. The error wraps fs.ErrNotExist or is errNoConfig if there is none.
func readKept(dir string) (Bundle, error) {
	d, err := openDirectory(filepath.Join(dir, keptTree))
	if err != nil {
		return Bundle{}, err
	}
	defer d.close()
	return collect(d)
}

// lookAtKept reads the copy as a source.
func lookAtKept(o Options) found {
	dir := o.path(keptDir)
	bundle, err := readKept(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoConfig) {
		return nothing("nothing")
	}
	if err != nil {
		return broken(keptSource, err)
	}
	name := keptSource
	var m mark
	text, err := statefile.File(filepath.Join(dir, keptMark)).Read(64 << 10)
	if err == nil && json.Unmarshal(text, &m) == nil {
		name = fmt.Sprintf("copy on /var, made %s from the %s", m.At.UTC().Format("2006-01-02 15:04 MST"), m.Source)
	}
	return found{source: name, bundle: bundle, says: "used"}
}

// Forget removes the copy, below root, which is "" on a node. It does nothing if there is none.
func Forget(root string) error {
	dir := root + keptDir
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("config copy: %w", err)
	}
	return nil
}
