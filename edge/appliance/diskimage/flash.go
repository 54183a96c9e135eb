package diskimage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// headSize is the size of an image's beginning, which is written last: without it, no firmware
// boots from a partially written disk.
const headSize = 1 << 20

// blockSize is the number of bytes per write.
const blockSize = 4 << 20

// Stage is the current step of Flash.
type Stage string

// The stages in order.
const (
	Writing   Stage = "writing"
	Syncing   Stage = "syncing" // until the data is on the disk
	Verifying Stage = "verifying"
)

// Progress says how far Flash has come.
type Progress struct {
	Stage Stage
	Done  int64 // bytes of this stage
	Total int64 // bytes; 0: unknown
}

// FlashOptions are the inputs of Flash.
type FlashOptions struct {
	Image io.Reader // raw
	Disk  *os.File  // opened for reading and writing
	Size  int64     // of the disk, in bytes
	// Told is called for each block; it may be nil.
	Told func(Progress)
}

// Flashed is the result of Flash.
type Flashed struct {
	Size   int64         `json:"size"`   // of the image, in bytes
	SHA256 string        `json:"sha256"` // of the image, as read back from the disk
	Took   time.Duration `json:"-"`
}

// Head is the beginning of an image and what it says about the whole.
type Head struct {
	data []byte
	Size int64 // of the image, in bytes
}

// ReadHead reads the beginning of an image, up to the end of its partition table. The error wraps
// ErrNoTable if it isn't a disk image.
func ReadHead(image io.Reader) (Head, error) {
	h := Head{data: make([]byte, headSize)}
	n, err := io.ReadFull(image, h.data)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
		return h, fmt.Errorf("image: %w", err)
	}
	h.data = h.data[:n]
	// The second copy is beyond what was read; the first one has the total size.
	var failed error
	for _, sector := range []int64{512, 4096} {
		first, err := readHeader(bytes.NewReader(h.data), 1<<62, sector, 1)
		if err == nil {
			h.Size = int64(first.other+1) * sector
			return h, nil
		}
		if errors.Is(err, io.EOF) {
			err = ErrNoTable
		}
		if failed == nil || !errors.Is(err, ErrNoTable) {
			failed = err
		}
	}
	return h, fmt.Errorf("image: %w", failed)
}

// Flash writes the image that begins with head to a disk, syncs it, reads it back and compares. The
// disk has no partition table until the last write, so nothing boots from a partial image. On a
// larger disk, it also wipes what an earlier table left at the end.
func Flash(ctx context.Context, head Head, o FlashOptions) (Flashed, error) {
	if o.Told == nil {
		o.Told = func(Progress) {}
	}
	if head.Size > o.Size {
		return Flashed{}, fmt.Errorf("the image needs %d bytes, the disk has %d", head.Size, o.Size)
	}
	begun := time.Now()
	w := writer{ctx: ctx, options: o, sum: sha256.New(), total: head.Size}
	if err := w.all(head); err != nil {
		return Flashed{}, err
	}
	got, err := w.readBack()
	if err != nil {
		return Flashed{}, fmt.Errorf("reading back: %w", err)
	}
	if want := fmt.Sprintf("%x", w.sum.Sum(nil)); got != want {
		return Flashed{}, fmt.Errorf("what was read back differs from the image: %s, not %s; the disk is not reliable", got, want)
	}
	return Flashed{Size: w.done, SHA256: got, Took: time.Since(begun)}, nil
}

// writer is one run of Flash.
type writer struct {
	ctx     context.Context
	options FlashOptions
	sum     hash.Hash // of the image
	done    int64     // bytes of the image read so far
	total   int64
}

// all writes the image, its head last.
func (w *writer) all(head Head) error {
	if err := w.at(make([]byte, len(head.data)), 0); err != nil {
		return err
	}
	if err := w.wipeEnd(); err != nil {
		return err
	}
	w.sum.Write(head.data)
	w.done = int64(len(head.data))
	block := make([]byte, blockSize)
	for {
		n, err := io.ReadFull(w.options.Image, block)
		if n > 0 {
			if w.done+int64(n) > w.options.Size {
				return errors.New("the image is larger than the disk")
			}
			w.sum.Write(block[:n])
			if err := w.at(block[:n], w.done); err != nil {
				return err
			}
			w.push(w.done, int64(n))
			w.done += int64(n)
			w.options.Told(Progress{Writing, w.done, max(w.total, w.done)})
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("image: %w", err)
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
	}
	if w.done < w.total {
		return fmt.Errorf("the image is cut short: it has %d bytes of %d", w.done, w.total)
	}
	return w.sync(head)
}

// sync flushes everything to the disk, then writes and flushes the head.
func (w *writer) sync(head Head) error {
	w.options.Told(Progress{Stage: Syncing})
	err := w.options.Disk.Sync()
	if err == nil {
		err = w.at(head.data, 0)
	}
	if err == nil {
		err = w.options.Disk.Sync()
	}
	if err != nil {
		return fmt.Errorf("syncing: %w", err)
	}
	return nil
}

// push makes the disk accept what was written, so that progress shows the disk's speed and not that
// of memory. Errors are left to sync, which reports them.
func (w *writer) push(from, n int64) {
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	_ = unix.SyncFileRange(int(w.options.Disk.Fd()), from, n, all)
}

func (w *writer) at(b []byte, offset int64) error {
	if _, err := w.options.Disk.WriteAt(b, offset); err != nil {
		return fmt.Errorf("writing at %d: %w", offset, err)
	}
	return nil
}

// wipeEnd overwrites the end of a disk that is larger than the image, where the backup of an
// earlier partition table or RAID metadata may be.
func (w *writer) wipeEnd() error {
	from := max(w.total, w.options.Size-headSize)
	if from >= w.options.Size {
		return nil
	}
	return w.at(make([]byte, w.options.Size-from), from)
}

// readBack hashes what is on the disk. It drops the kernel's cache first, so that the data comes
// from the disk itself.
func (w *writer) readBack() (string, error) {
	fd := int(w.options.Disk.Fd())
	if err := unix.IoctlSetInt(fd, unix.BLKFLSBUF, 0); err != nil { // not a block device
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) // best effort
	}
	sum, block := sha256.New(), make([]byte, blockSize)
	for at := int64(0); at < w.done; {
		n := min(int64(len(block)), w.done-at)
		if _, err := w.options.Disk.ReadAt(block[:n], at); err != nil {
			return "", err
		}
		sum.Write(block[:n])
		at += n
		w.options.Told(Progress{Verifying, at, w.done})
		if err := w.ctx.Err(); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

// Reread makes the kernel read the partition table of a disk again. It succeeds on a device that
// can't have partitions.
func Reread(disk *os.File) error {
	err := unix.IoctlSetInt(int(disk.Fd()), unix.BLKRRPART, 0)
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}
