package diskimage

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Drive is a block device or a file to write to.
type Drive struct {
	Path  string `json:"path"` // "/dev/sdb", with links resolved
	Name  string `json:"name"` // "sdb"
	File  bool   `json:"file"` // a regular file
	Size  int64  `json:"size"` // bytes
	Model string `json:"model,omitempty"`
	// Serial is its serial number; "" if the kernel doesn't report one.
	Serial    string `json:"serial,omitempty"`
	Removable bool   `json:"removable"`
	// Holds lists what is on it, in words: partitions and file systems.
	Holds []string `json:"holds,omitempty"`
}

// Refusal says why a drive must not be written to.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

func refuse(format string, args ...any) error { return &Refusal{fmt.Sprintf(format, args...)} }

// system has the paths where the kernel describes its devices; tests set their own.
type system struct{ sys, proc, udev string }

var host = system{"/sys", "/proc", "/run/udev/data"}

// OpenDrive checks a drive and opens it for writing, exclusively: nobody can mount or claim it
// meanwhile. The error is a *Refusal if the drive is not a whole disk, is read-only or is in use.
func OpenDrive(path string) (Drive, *os.File, error) {
	d, number, err := host.inspect(path)
	if err != nil {
		return d, nil, err
	}
	if d.File {
		f, err := openFile(d.Path)
		return d, f, err
	}
	if err := host.free(d, number); err != nil {
		return d, nil, err
	}
	f, err := os.OpenFile(d.Path, os.O_RDWR|unix.O_EXCL|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return d, nil, refuse("%s is in use: something on this machine has opened it for itself", d.Path)
	case errors.Is(err, unix.EROFS):
		return d, nil, refuse("%s is read-only", d.Path)
	case err != nil:
		return d, nil, err
	}
	return d, f, nil
}

// openFile opens an image exclusively, because a virtual machine or loop device that uses it would
// be disturbed.
func openFile(path string) (*os.File, error) {
	if device := host.loopOf(path); device != "" {
		return nil, refuse("%s is attached to %s: detach it first (losetup --detach %s)", path, device, device)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		f.Close()
		return nil, refuse("%s is in use by another program, such as a virtual machine that runs from it", path)
	}
	return f, nil
}

// inspect describes the drive at path. It refuses anything that is not a whole disk.
func (s system) inspect(path string) (Drive, string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return Drive{}, "", err
	}
	var st unix.Stat_t
	if err := unix.Stat(real, &st); err != nil {
		return Drive{}, "", &fs.PathError{Op: "stat", Path: real, Err: err}
	}
	d := Drive{Path: real, Name: filepath.Base(real)}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		d.File, d.Size = true, st.Size
		return d, "", nil
	case unix.S_IFBLK:
	default:
		return d, "", refuse("%s is neither a block device nor a file", path)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	dir, err := filepath.EvalSymlinks(filepath.Join(s.sys, "dev/block", number))
	if err != nil {
		return d, number, fmt.Errorf("%s: the kernel does not know it: %w", real, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "partition")); err == nil {
		return d, number, refuse("%s is a partition; the disk is /dev/%s", real, filepath.Base(filepath.Dir(dir)))
	}
	sectors, err := strconv.ParseInt(s.attribute(dir, "size"), 10, 64)
	if err != nil {
		return d, number, fmt.Errorf("%s: the kernel does not tell its size: %w", real, err)
	}
	d.Size = sectors * 512
	d.Removable = s.attribute(dir, "removable") == "1"
	d.Model = strings.TrimSpace(s.attribute(dir, "device/vendor") + " " + s.attribute(dir, "device/model"))
	d.Serial = s.serial(dir, number)
	d.Holds = s.holds(dir, number)
	if file := s.attribute(dir, "loop/backing_file"); file != "" {
		d.Model = "loop device of " + file
	}
	return d, number, nil
}

func (s system) attribute(dir, name string) string {
	text, _ := os.ReadFile(filepath.Join(dir, name)) // not every device has it
	return strings.TrimSpace(string(text))
}

func (s system) serial(dir, number string) string {
	for _, name := range []string{"device/serial", "serial"} {
		if text := s.attribute(dir, name); text != "" {
			return text
		}
	}
	return s.record(number)["ID_SERIAL_SHORT"]
}

// record returns the properties that udev has of a device.
func (s system) record(number string) map[string]string {
	known := map[string]string{}
	f, err := os.Open(filepath.Join(s.udev, "b"+number))
	if err != nil {
		return known
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if property, ok := strings.CutPrefix(lines.Text(), "E:"); ok {
			name, value, _ := strings.Cut(property, "=")
			known[name] = value
		}
	}
	return known
}

// holds describes what is on a disk.
func (s system) holds(dir, number string) []string {
	var list []string
	describe := func(name, number string) {
		known := s.record(number)
		var words []string
		for _, property := range []string{"ID_FS_TYPE", "ID_FS_LABEL", "ID_PART_ENTRY_NAME"} {
			if text := known[property]; text != "" && !slices.Contains(words, text) {
				words = append(words, text)
			}
		}
		list = append(list, strings.TrimSpace(name+" "+strings.Join(words, " ")))
	}
	if s.record(number)["ID_FS_TYPE"] != "" {
		describe(filepath.Base(dir), number)
	}
	for name, number := range s.partitions(dir) {
		describe(name, number)
	}
	slices.Sort(list)
	return list
}

// partitions returns the partitions of a disk: their names and numbers.
func (s system) partitions(dir string) map[string]string {
	all := map[string]string{}
	found, _ := filepath.Glob(filepath.Join(dir, "*", "partition")) // the pattern is valid
	for _, path := range found {
		part := filepath.Dir(path)
		all[filepath.Base(part)] = s.attribute(part, "dev")
	}
	return all
}

// free refuses a disk that is read-only or has anything in use on it.
func (s system) free(d Drive, number string) error {
	dir := filepath.Join(s.sys, "dev/block", number)
	if s.attribute(dir, "ro") == "1" {
		return refuse("%s is read-only", d.Path)
	}
	if d.Size == 0 {
		return refuse("%s has no medium in it", d.Path)
	}
	parts := s.partitions(dir)
	parts[d.Name] = number
	dirs := map[string]string{d.Name: dir}
	for name := range parts {
		if name != d.Name {
			dirs[name] = filepath.Join(dir, name)
		}
	}
	mounts, err := s.mounts()
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(parts) {
		if at, ok := mounts[parts[name]]; ok {
			if at == "/" {
				return refuse("%s is the disk that this system runs from (/dev/%s)", d.Path, name)
			}
			return refuse("/dev/%s is mounted at %s: unmount it first", name, at)
		}
		if holders, _ := os.ReadDir(filepath.Join(dirs[name], "holders")); len(holders) > 0 {
			return refuse("/dev/%s is in use by %s (device mapper, LVM or a mirror)", name, holders[0].Name())
		}
	}
	return s.noSwap(parts)
}

// mounts returns the mount points of devices, by device number.
func (s system) mounts() (map[string]string, error) {
	f, err := os.Open(filepath.Join(s.proc, "self/mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		if at, ok := all[fields[2]]; !ok || at != "/" {
			all[fields[2]] = fields[4]
		}
		// btrfs reports numbers of its own; the name of its device follows the dash.
		if i := slices.Index(fields, "-"); i > 0 && i+2 < len(fields) && strings.HasPrefix(fields[i+2], "/dev/") {
			var st unix.Stat_t
			if unix.Stat(fields[i+2], &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK {
				number := fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
				if at, ok := all[number]; !ok || at != "/" {
					all[number] = fields[4]
				}
			}
		}
	}
	return all, lines.Err()
}

// noSwap refuses a disk that holds active swap space.
func (s system) noSwap(parts map[string]string) error {
	text, err := os.ReadFile(filepath.Join(s.proc, "swaps"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, " ")
		if base := filepath.Base(name); strings.HasPrefix(name, "/dev/") && parts[base] != "" {
			return refuse("%s is swap space in use: swapoff %s first", name, name)
		}
	}
	return nil
}

// loopOf returns the loop device that uses the file at path, or "".
func (s system) loopOf(path string) string {
	files, _ := filepath.Glob(filepath.Join(s.sys, "block/loop*/loop/backing_file")) // the pattern is valid
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == path {
			return "/dev/" + filepath.Base(filepath.Dir(filepath.Dir(file)))
		}
	}
	return ""
}

func sortedKeys(m map[string]string) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}
