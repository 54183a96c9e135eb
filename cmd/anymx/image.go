package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"anymx/edge/appliance/diskimage"
	"anymx/edge/operate/words"
)

const imageHelp = `Image works on a disk image of the appliance, as a file or on a disk, without
mounting it. 'config' and 'show' need no root for a file.`

func (p *program) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "image", Short: "Put a config into an image, look at it, write it to a disk", Long: imageHelp,
		Args: unknownCommand, RunE: p.local(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
		Example: "  anymx image config ams1/ anymx.raw\n  anymx image show anymx.raw\n  anymx image flash anymx.raw /dev/sdb",
	}
	cmd.AddCommand(p.imageConfigCommand(), p.imageShowCommand(), p.imageFlashCommand())
	return cmd
}

// configFolder is the folder of the config on the ESP, where the node reads it.
const configFolder = "anymx"

// image is an open image or disk.
type image struct {
	file  *os.File
	drive diskimage.Drive
	table *diskimage.Table
	fat   *diskimage.FAT
	// warnings lists problems that prevent nothing.
	warnings []string
}

func (i *image) close() { i.file.Close() }

// openImage opens an image or a disk for reading, or, with exclusive access, for writing.
func openImage(path string, write bool) (*image, error) {
	if compressed(path) {
		return nil, usagef("%s is compressed: unpack it first (zstd -d %s), or write it to a disk as it is with 'anymx image flash'", path, path)
	}
	i := &image{}
	var err error
	if write {
		i.drive, i.file, err = diskimage.OpenDrive(path)
	} else {
		i.drive, i.file, err = readImage(path)
	}
	if err != nil {
		return nil, err
	}
	if err := i.read(); err != nil {
		i.close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return i, nil
}

// readImage opens it for reading. The size of a disk is found by seeking to its end.
func readImage(path string) (diskimage.Drive, *os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return diskimage.Drive{}, nil, err
	}
	size, err := f.Seek(0, 2)
	if err != nil {
		return diskimage.Drive{}, nil, errors.Join(err, f.Close())
	}
	return diskimage.Drive{Path: path, Size: size}, f, nil
}

func (i *image) read() error {
	var err error
	if i.table, err = diskimage.ReadTable(i.file, i.drive.Size); err != nil {
		return err
	}
	if text := i.table.Damage(); text != "" {
		i.warnings = append(i.warnings, text)
	}
	esp, err := i.table.ESP()
	if err != nil {
		return err
	}
	if i.fat, err = diskimage.Open(i.file, i.drive.Size, esp); err != nil {
		return fmt.Errorf("ESP: %w", err)
	}
	if i.fat.Dirty {
		i.warnings = append(i.warnings, "its ESP was not unmounted in good order; what was looked at is whole")
	}
	return nil
}

// warn writes warnings for people.
func (p *program) warn(texts []string) {
	for _, text := range texts {
		fmt.Fprintf(p.errOut, "anymx: warning: %s\n", words.Clean(text))
	}
}

// compressed reports whether the file at path is compressed with zstd.
func compressed(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 4)
	_, err = f.Read(magic)
	return err == nil && bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd})
}

// imageFile is a file in an image, as JSON.
type imageFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Secret bool   `json:"secret"`
}

// filesText lists files, one per line, each with its size.
func filesText(files []imageFile) string {
	widest := 0
	for _, f := range files {
		widest = max(widest, len(words.Clean(f.Name)))
	}
	var b strings.Builder
	for _, f := range files {
		line := fmt.Sprintf("  %-*s  %9s", widest, words.Clean(f.Name), sizeText(f.Size))
		if f.Secret {
			line += "  secret"
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// sizeText formats a size in bytes with a fitting unit.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1023.95 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 || v == float64(int64(v)) || v >= 99.95 {
		return strconv.FormatFloat(v, 'f', 0, 64) + " " + units[i]
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + " " + units[i]
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func total(files []imageFile) (size int64, secrets int) {
	for _, f := range files {
		size += f.Size
		if f.Secret {
			secrets++
		}
	}
	return size, secrets
}
