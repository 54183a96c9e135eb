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

// exportName is the folder next to a store to which ExportAside writes.
const exportName = "spool-export"

// unfinished is the suffix of an export that is in progress or was cut off.
const unfinished = ".part"

// ExportAside exports what was set aside of the store in dir to folders of the same names in spool-export next to it, except what was exported before. If whole is set it also exports the store itself, which no program may have open, to spool-TIME, where TIME is now. reserve bytes of the file system stay free. It returns the folders that it wrote, also with an error; none means that there was nothing to export. each, if not nil, is called after each message.
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

// exportOne exports the store in from. The folder gets the name to when it is complete.
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
		return Exported{}, fmt.Errorf("%s: an export needs %d bytes of free space, including the disk reserve, but only %d are free", from, need, disk.AvailBytes)
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

// add adds the counts of another export.
func (e *Exported) add(other *Exported) {
	e.Messages += other.Messages
	e.Orphans += other.Orphans
	e.Damaged += other.Damaged
	e.Bytes += other.Bytes
	e.Problems = append(e.Problems, other.Problems...)
}
