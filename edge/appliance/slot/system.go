package slot

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// System says where a machine's slots are. The zero value is the machine that this process runs on.
type System struct {
	// Root is prepended to every path that is not given here; "" means "/".
	Root string
	// ESP is where the ESP is mounted; "": /efi or /boot, whichever has a folder
	// EFI/Linux.
	ESP string
	// Disk is the disk with the slots; "": the one that the root file system is on.
	Disk string
}

// entriesDir is where the loader finds unified kernel images.
const entriesDir = "EFI/Linux"

// maxEntries bounds how many names in the ESP are read.
const maxEntries = 1000

// Read reads the state of the machine. Its error wraps fs.ErrNotExist if this is not an appliance:
// without an ESP, a version in os-release, or a disk below the root.
func (s *System) Read() (*Table, error) {
	t := &Table{ESP: s.ESP}
	var err error
	if t.Version, err = s.version(); err != nil {
		return nil, err
	}
	if t.RootHash, err = s.rootHash(); err != nil {
		return nil, err
	}
	if t.Disk, err = s.disk(); err != nil {
		return nil, fmt.Errorf("disk of the running system: %w", err)
	}
	partitions, err := ReadDisk(t.Disk)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.Disk, err)
	}
	if t.ESP, err = s.esp(); err != nil {
		return nil, err
	}
	entries, err := readEntries(t.ESP)
	if err != nil {
		return nil, fmt.Errorf("boot entries: %w", err)
	}
	t.Slots, t.Stray = Arrange(t.Version, partitions, entries)
	return t, nil
}

// version returns IMAGE_VERSION of os-release (os-release(5)).
func (s *System) version() (string, error) {
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		text, err := readSmall(s.Root + name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(text)) {
			if v, ok := strings.CutPrefix(strings.TrimSpace(line), "IMAGE_VERSION="); ok {
				if v = strings.Trim(v, `"'`); !ValidVersion(v) {
					return "", fmt.Errorf("%s: %q is not an image version", name, v)
				}
				return v, nil
			}
		}
	}
	return "", fmt.Errorf("this machine is not an appliance: os-release has no IMAGE_VERSION: %w", fs.ErrNotExist)
}

// rootHash returns the root hash on the kernel's command line.
func (s *System) rootHash() (string, error) {
	text, err := readSmall(s.Root + "/proc/cmdline")
	if err != nil {
		return "", err
	}
	for word := range strings.FieldsSeq(string(text)) {
		if hash, ok := strings.CutPrefix(word, "roothash="); ok {
			if _, _, ok := PartitionsOf(hash); !ok {
				return "", fmt.Errorf("invalid root hash on the kernel command line: %q", hash)
			}
			return hash, nil
		}
	}
	return "", fmt.Errorf("this machine is not an appliance: no roothash= on the kernel command line: %w", fs.ErrNotExist)
}

// disk finds the disk below the root file system: through the device mapper, since two disks may
// carry the same image, with the same UUIDs.
func (s *System) disk() (string, error) {
	if s.Disk != "" {
		return s.Disk, nil
	}
	var root unix.Stat_t
	if err := unix.Stat(s.Root+"/", &root); err != nil {
		return "", err
	}
	dev := fmt.Sprintf("%s/sys/dev/block/%d:%d", s.Root, unix.Major(root.Dev), unix.Minor(root.Dev))
	below, err := os.ReadDir(dev + "/slaves")
	if err != nil {
		return "", err
	}
	for _, one := range below {
		partition, err := filepath.EvalSymlinks(filepath.Join(dev, "slaves", one.Name()))
		if err != nil {
			return "", err
		}
		if _, err := os.Stat(partition + "/partition"); err == nil {
			return s.Root + "/dev/" + strings.ReplaceAll(filepath.Base(filepath.Dir(partition)), "!", "/"), nil // as the kernel names a folder of /dev
		}
	}
	return "", fmt.Errorf("no partition below %s: %w", dev, fs.ErrNotExist)
}

// esp finds where the ESP is mounted.
func (s *System) esp() (string, error) {
	if s.ESP != "" {
		return s.ESP, nil
	}
	for _, dir := range []string{"/efi", "/boot"} {
		if info, err := os.Stat(filepath.Join(s.Root+dir, entriesDir)); err == nil && info.IsDir() {
			return s.Root + dir, nil
		}
	}
	return "", fmt.Errorf("the ESP is neither at /efi nor at /boot: %w", fs.ErrNotExist)
}

// ReadDisk reads the partition table of a disk, or of an image of one.
func ReadDisk(name string) ([]Partition, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	return ReadTable(f, size)
}

// readEntries reads the names of the boot entries, and ignores others.
func readEntries(esp string) ([]Entry, error) {
	dir, err := os.Open(filepath.Join(esp, entriesDir))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxEntries)
	if err != nil && err != io.EOF {
		return nil, err
	}
	var entries []Entry
	for _, name := range names {
		if e, ok := ParseEntry(name); ok {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// Uptime returns how long the machine has been up, in seconds.
func (s *System) Uptime() (float64, error) {
	text, err := readSmall(s.Root + "/proc/uptime")
	if err != nil {
		return 0, err
	}
	word, _, _ := strings.Cut(string(text), " ")
	return strconv.ParseFloat(strings.TrimSpace(word), 64)
}

// readSmall reads a file of at most 64 KiB.
func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(bufio.NewReader(io.LimitReader(f, 64<<10)))
	return b.Bytes(), err
}
