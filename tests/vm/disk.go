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

// Disk is what QEMU is told of a disk. The zero Disk is none.
type Disk struct {
	File     string // path of an image
	Format   string // of the file: "raw" or "qcow2"; "" means raw
	NBD      string // unix socket of a server, instead of a file: see package lossy
	ReadOnly bool
}

// Overlay makes a disk in the new file name that has a raw image's content and
// takes what is written: the image never changes, and must not. Size is the disk's
// in octets; 0: the image's.
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

// CopyTo writes a file's disk as a raw image, without what is zero. No machine may
// be using it.
func (d Disk) CopyTo(ctx context.Context, name string) error {
	if d.File == "" {
		return errors.New("a disk without a file cannot be copied")
	}
	return run(ctx, "qemu-img", "convert", "-f", d.format(), "-O", "raw", d.File, name)
}

// Stick makes a file that is a USB stick: a FAT file system with a label and the
// files of a tree.
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

// drive is the value of -drive, without the device that it is behind.
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

// comma writes a value as QEMU's options want it.
func comma(text string) string { return strings.ReplaceAll(text, ",", ",,") }

// run runs a program, at most two minutes; its error has what the program
// complained of.
func run(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, lookUp(name), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// lookUp finds a program, also where a user's PATH does not lead.
func lookUp(name string) string {
	for _, dir := range []string{"", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	return name
}
