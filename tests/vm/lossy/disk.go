package lossy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Options are the options of New.
type Options struct {
	// Size is the disk's, in bytes; 0: the image's.
	Size int64
	// Cache limits how many bytes of writes can be lost: a drive's cache is finite, and older
	// writes have reached the platter. 0: 64 MiB.
	Cache int64
}

// Disk is a disk with a write-back cache. It is safe for concurrent use.
type Disk struct {
	size, limit int64

	mu     sync.Mutex
	file   *os.File
	cache  []write // unflushed, oldest first
	cached int64   // bytes in the cache
	counts Counts
}

// Counts counts the requests to a disk.
type Counts struct {
	Reads, Writes, Flushes int64 // requests; writing zeros counts as a write
	Unflushed              int   // writes in the cache now
	Bytes                  int64 // bytes in the cache now
}

// write is a write in the cache: its place, and the data before it.
type write struct {
	at, length int64
	old        []byte // nil: a hole
	sure       bool   // written through the cache (FUA)
}

// errOutside reports a request beyond the disk.
var errOutside = errors.New("beyond the end of the disk")

// piece is how much of a request is remembered as one unit. A piece that was all zeros needs no
// memory.
const piece = 1 << 20

// New creates a disk with an image's content in the new file name. The image does not change.
func New(image, name string, o Options) (*Disk, error) {
	from, err := os.Open(image)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := clone(from, file, o.Size); err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(name))
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if o.Cache == 0 {
		o.Cache = 64 << 20
	}
	return &Disk{size: info.Size(), limit: o.Cache, file: file}, nil
}

// Size returns the size in bytes.
func (d *Disk) Size() int64 { return d.size }

// Close closes the file, which remains and includes the cached writes.
func (d *Disk) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file.Close()
}

// ReadAt reads the latest data, cached or not.
func (d *Disk) ReadAt(b []byte, at int64) (int, error) {
	if err := d.inside(at, int64(len(b))); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.Reads++
	return d.file.ReadAt(b, at)
}

// WriteAt writes into the cache and returns.
func (d *Disk) WriteAt(b []byte, at int64) (int, error) { return d.write(b, at, false) }

// WriteThrough writes to the platter, so that it survives a power cut (FUA).
func (d *Disk) WriteThrough(b []byte, at int64) (int, error) { return d.write(b, at, true) }

func (d *Disk) write(b []byte, at int64, sure bool) (int, error) {
	if err := d.inside(at, int64(len(b))); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.Writes++
	if err := d.remember(at, int64(len(b)), sure); err != nil {
		return 0, err
	}
	return d.file.WriteAt(b, at)
}

// Zero writes zeros and frees the space.
func (d *Disk) Zero(at, length int64, sure bool) error {
	if err := d.inside(at, length); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.Writes++
	for end := at + length; at < end; at += piece {
		n := min(piece, end-at)
		if err := d.remember(at, n, sure); err != nil {
			return err
		}
		if err := punch(d.file, at, n); err != nil {
			return err
		}
	}
	return nil
}

func punch(file *os.File, at, length int64) error {
	if err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, at, length); err != nil {
		return fmt.Errorf("hole in %s: %w", file.Name(), err)
	}
	return nil
}

// Flush writes the cache to the platter.
func (d *Disk) Flush() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts.Flushes++
	d.cache, d.cached = nil, 0
}

// Counts returns the counts so far.
func (d *Disk) Counts() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.counts
	c.Unflushed, c.Bytes = len(d.cache), d.cached
	return c
}

// CopyTo writes the disk's current content to a new file, for another machine to start from.
func (d *Disk) CopyTo(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	to, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(clone(d.file, to, 0), to.Close())
}

// remember saves the data that a write is about to overwrite.
func (d *Disk) remember(at, length int64, sure bool) error {
	w := write{at: at, length: length, sure: sure}
	from, _, err := data(d.file, at, at+length)
	if err != nil {
		return fmt.Errorf("holes of %s: %w", filepath.Base(d.file.Name()), err)
	}
	if from < at+length {
		w.old = make([]byte, length)
		if _, err := d.file.ReadAt(w.old, at); err != nil {
			return err
		}
	}
	d.cache = append(d.cache, w)
	d.cached += length
	for len(d.cache) > 1 && d.cached > d.limit {
		d.cached -= d.cache[0].length
		d.cache[0] = write{} // frees its memory
		d.cache = d.cache[1:]
	}
	return nil
}

func (d *Disk) inside(at, length int64) error {
	if at < 0 || length < 0 || at > d.size-length {
		return fmt.Errorf("%d bytes at %d: %w", length, at, errOutside)
	}
	return nil
}
