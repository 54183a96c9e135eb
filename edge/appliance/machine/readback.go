package machine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"anymx/edge/appliance/bundle"
	"anymx/edge/appliance/slot"
	"anymx/edge/operate/api"
)

// readBack compares the content of the other slot with the manifest: the partitions and their UUIDs
// as they are on disk, and the kernel in the ESP.
func (m *Machine) readBack(o *operation, t *slot.Table, f *bundle.Manifest) error {
	other := t.Other()
	rootID, verityID, _ := slot.PartitionsOf(f.RootHash) // the manifest was validated
	if other.Root.ID != rootID || other.Verity.ID != verityID {
		return errors.New("read back: the partitions do not have the UUIDs of the root hash")
	}
	parts := []struct {
		role bundle.Role
		name string
		file string
		at   int64
		room int64
	}{
		{bundle.Verity, "the hash tree", t.Disk, other.Verity.Start, other.Verity.Size},
		{bundle.Root, "the root file system", t.Disk, other.Root.Start, other.Root.Size},
		{bundle.Kernel, "the kernel", t.Path(*other.Entry), 0, 0},
	}
	var total, done int64
	for _, file := range f.Files {
		total += file.Full()
	}
	for _, p := range parts {
		want := f.File(p.role)
		if p.role == bundle.Kernel {
			info, err := os.Stat(p.file)
			if err != nil {
				return fmt.Errorf("read back: %w", err)
			}
			p.room = info.Size()
			if p.room != want.Full() {
				return fmt.Errorf("read back: %s has %d bytes instead of %d", p.name, p.room, want.Full())
			}
		}
		if want.Full() > p.room {
			return fmt.Errorf("read back: %s does not fit its partition", p.name)
		}
		sum, err := sumOf(o.ctx, p.file, p.at, want, func(n int64) {
			done += n
			o.report(api.MachineProgress{Step: api.MachineCheck, Done: done, Total: total})
		})
		if err != nil {
			return fmt.Errorf("read back: %s: %w", p.name, err)
		}
		if sum != want.SHA256 {
			return fmt.Errorf("read back: %s differs from what was written: SHA-256 sum %s instead of %s as in the manifest", p.name, sum, want.SHA256)
		}
	}
	o.reportText(api.MachineCheck, "read back and verified")
	return nil
}

// readUnit is the number of bytes per read.
const readUnit = 1 << 20

// sumOf returns the SHA-256 sum of a bundle's file on a disk, from an offset on. It must be
// followed by its zeros. It bypasses the page cache, whose content may differ from the disk's.
func sumOf(ctx context.Context, name string, at int64, f bundle.File, count func(int64)) (string, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) { // a file system without O_DIRECT
		file, err = os.Open(name)
	}
	if err != nil {
		return "", err
	}
	defer file.Close()
	b, err := unix.Mmap(-1, 0, readUnit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // page-aligned, as O_DIRECT requires
	if err != nil {
		return "", err
	}
	defer unix.Munmap(b)
	sum := sha256.New()
	for done := int64(0); done < f.Full(); {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := file.ReadAt(b, at+done)
		if err != nil && err != io.EOF {
			return "", err
		}
		n = int(min(int64(n), f.Full()-done))
		if n == 0 {
			return "", io.ErrUnexpectedEOF
		}
		content := int(max(0, min(int64(n), f.Size-done)))
		sum.Write(b[:content])
		if len(bytes.TrimLeft(b[content:n], "\x00")) > 0 {
			return "", errors.New("it is not followed by zeros")
		}
		done += int64(n)
		count(int64(n))
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
