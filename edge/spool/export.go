package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// exportName is the folder beside a store that has what ExportAside wrote.
const exportName = "spool-export"

// unfinished ends the name of an export that is under way, or that was cut off.
const unfinished = ".part"

// ExportAside exports what was set aside of the store in dir to folders of the same names in
// spool-export beside it, but for what was exported before. whole has the store itself exported too,
// which no program may have open, to spool-TIME, the time being now. Of the file system reserve bytes stay
// free. It returns the folders that it wrote, also with an error; none says that there was nothing to
// be done. each is called after each message; nil: nobody is told.
func ExportAside(dir string, whole bool, reserve int64, now time.Time, each func(Salvaged)) (folders []string, sum Exported, err error) {
	type job struct{ from, to string }
	var jobs []job
	top := filepath.Join(filepath.Dir(dir), exportName)
	for _, from := range asideFolders(dir) {
		jobs = append(jobs, job{from, filepath.Join(top, filepath.Base(from))})
	}
	if whole {
		jobs = append(jobs, job{dir, filepath.Join(top, "spool-"+now.UTC().Format(folderTime))})
	}
	for _, j := range jobs {
		if _, err := os.Stat(j.to); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return folders, sum, err
		}
		part, err := exportOne(j.from, j.to, reserve, each)
		sum.add(&part)
		if err != nil {
			return folders, sum, err
		}
		folders = append(folders, j.to)
	}
	return folders, sum, nil
}

// exportOne exports the store in from, which becomes to when all of it is written.
func exportOne(from, to string, reserve int64, each func(Salvaged)) (Exported, error) {
	r, err := Check(from)
	if err != nil {
		return Exported{}, err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return Exported{}, err
	}
	disk, err := vfs.Default.GetDiskUsage(filepath.Dir(to))
	if err != nil {
		return Exported{}, fmt.Errorf("free space: %w", err)
	}
	if need := r.Bytes + r.BodyBytes + r.OrphanBytes + reserve; need > int64(disk.AvailBytes) {
		return Exported{}, fmt.Errorf("%s: an export needs %d bytes of free space, with the disk reserve, and there are %d", from, need, disk.AvailBytes)
	}
	if err := os.RemoveAll(to + unfinished); err != nil { // of an export that was cut off: only copies
		return Exported{}, err
	}
	sum, err := Export(from, to+unfinished, each)
	if err == nil {
		err = os.Rename(to+unfinished, to)
	}
	return sum, err
}

// add adds what another export wrote.
func (e *Exported) add(other *Exported) {
	e.Messages += other.Messages
	e.Orphans += other.Orphans
	e.Damaged += other.Damaged
	e.Bytes += other.Bytes
	e.Problems = append(e.Problems, other.Problems...)
}
