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

// Only what came from a file system is kept: a stick is pulled out, and the node
// must boot without it. A credential comes again with each boot, and whoever stops
// giving it means that the node shall not have it any more; and the ESP stays where
// it is.

// keptTree is the folder of the tree in keptDir, keptMark the file that says where it
// is from.
const (
	keptTree = "tree"
	keptMark = "kept.json"
)

// mark says where what was kept came from.
type mark struct {
	Source string    `json:"source"`
	At     time.Time `json:"at"`
}

// keep writes a good tree to /var, unless it is there already: a new folder, synced,
// is put in the place of the old one.
func (o Options) keep(r *Report, t Tree) error {
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

// syncDirs brings the names in all folders below top to stable storage.
func syncDirs(top string) error {
	return filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = statefile.SyncDir(path)
		}
		return err
	})
}

// readKept reads what was kept. The error wraps fs.ErrNotExist or is errNoConfig if
// nothing was.
func readKept(dir string) (Tree, error) {
	d, err := openDirectory(filepath.Join(dir, keptTree))
	if err != nil {
		return Tree{}, err
	}
	defer d.close()
	return collect(d)
}

// lookAtKept looks at what was kept.
func lookAtKept(o Options) found {
	dir := o.path(keptDir)
	tree, err := readKept(dir)
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
		name = fmt.Sprintf("copy on /var, kept %s from the %s", m.At.UTC().Format("2006-01-02 15:04 MST"), m.Source)
	}
	return found{source: name, tree: tree, says: "taken"}
}

// Forget removes what was kept, below root, which is "" on a node. That there is
// nothing is no error.
func Forget(root string) error {
	dir := root + keptDir
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("kept config: %w", err)
	}
	return nil
}
