package lossy

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// clone copies a file, preserving holes, and sets the size of the copy in bytes; 0: the size of the
// file.
func clone(from, to *os.File, size int64) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if size == 0 {
		size = info.Size()
	}
	if size < info.Size() {
		return fmt.Errorf("a disk of %d bytes does not hold %s, which has %d", size, from.Name(), info.Size())
	}
	if err := to.Truncate(size); err != nil {
		return err
	}
	for at := int64(0); at < info.Size(); {
		start, end, err := data(from, at, info.Size())
		if err != nil {
			return fmt.Errorf("holes of %s: %w", from.Name(), err)
		}
		if _, err := to.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(to, io.NewSectionReader(from, start, end-start)); err != nil {
			return fmt.Errorf("copy of %s: %w", from.Name(), err)
		}
		at = end
	}
	return nil
}

// data returns the first range at or after `at` that is not a hole, limited by end; both values are
// end if there is none. It moves the file's position.
func data(file *os.File, at, end int64) (from, to int64, err error) {
	from, err = unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) || err == nil && from >= end {
		return end, end, nil
	}
	if err != nil {
		return 0, 0, err
	}
	to, err = unix.Seek(int(file.Fd()), from, unix.SEEK_HOLE)
	return from, min(to, end), err
}
