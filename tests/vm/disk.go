package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Disk describes a disk for QEMU. The zero Disk means none.
type Disk struct {
	File     string // path of an image
	Format   string // of the file: "raw" or "qcow2"; "" means raw
	NBD      string // unix socket of a server, instead of a file: see package lossy
	ReadOnly bool
}

// Overlay creates a disk in the new file name with a raw image's content. It stores the changes;
// the image itself must never change. size is the disk's in bytes; 0: the image's.
func Overlay(ctx context.Context, image, name string, size int64) (Disk, error) {
	image, err := filepath.Abs(image)
	if err != nil {
		return Disk{}, err
	}
	args := []string{"create", "-q", "-f", "qcow2", "-F", "raw", "-b", image, name}
	if size > 0 {
		args = append(args, fmt.Sprint(size))
	}
	return Disk{File: name, Format: "qcow2"}, run(ctx, "qemu-img", args...)
}

// CopyTo writes a file's disk as a sparse raw image. No machine may be using it.
func (d Disk) CopyTo(ctx context.Context, name string) error {
	if d.File == "" {
		return errors.New("a disk without a file cannot be copied")
	}
	return run(ctx, "qemu-img", "convert", "-f", d.format(), "-O", "raw", d.File, name)
}

// Stick creates the image of a USB stick: a FAT file system with a label and the files of a folder.
func Stick(ctx context.Context, name, label, tree string) (Disk, error) {
	d := Disk{File: name, ReadOnly: true}
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return d, err
	}
	if err := errors.Join(file.Truncate(32<<20), file.Close()); err != nil {
		return d, err
	}
	if err := run(ctx, "mkfs.vfat", "-n", label, name); err != nil {
		return d, err
	}
	all, err := filepath.Glob(filepath.Join(tree, "*"))
	if err != nil || len(all) == 0 {
		return d, err
	}
	return d, run(ctx, "mcopy", append(append([]string{"-s", "-i", name}, all...), "::")...)
}

// drive returns the value of -drive, without the device that uses it.
func (d Disk) drive(id string) string {
	text := "if=none,id=" + id
	if d.NBD != "" {
		text += ",driver=nbd,server.type=unix,server.path=" + comma(d.NBD) + ",discard=unmap"
	} else {
		text += ",format=" + d.format() + ",discard=unmap,file=" + comma(d.File)
	}
	if d.ReadOnly {
		return text + ",readonly=on"
	}
	return text + ",cache=writeback"
}

func (d Disk) format() string {
	if d.Format == "" {
		return "raw"
	}
	return d.Format
}

// comma escapes a value for QEMU's options.
func comma(text string) string { return strings.ReplaceAll(text, ",", ",,") }

// run runs a program for at most two minutes; its error includes what the program wrote to stderr.
func run(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, lookUp(name), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// lookUp finds a program, even if it is not in the user's PATH.
func lookUp(name string) string {
	for _, dir := range []string{"", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return name
}
