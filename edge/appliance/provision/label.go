package provision

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// label is the label of a file system on which an operator provides a config.
const label = "ANYMX"

// types are the file systems that are mounted, and as what. Others would add kernel code that
// parses foreign data.
var types = map[string]string{
	"vfat": "vfat", "ext4": "ext4", "ext3": "ext4", "ext2": "ext4", "iso9660": "iso9660", "erofs": "erofs",
}

// volume is a file system labelled ANYMX.
type volume struct {
	device string // "/dev/sdb1"
	fsType string // as udev calls it
}

func names(all []volume) []string {
	var list []string
	for _, v := range all {
		list = append(list, v.device)
	}
	return list
}

// labelled returns all file systems with the label that udev knows, by device. A link in
// /dev/disk/by-label would show only one of them.
func labelled(root string) ([]volume, error) {
	const blocks = "/sys/class/block"
	devices, err := os.ReadDir(root + blocks)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("block devices: %w", err)
	}
	var all []volume
	for _, d := range devices {
		number, err := os.ReadFile(filepath.Join(root+blocks, d.Name(), "dev"))
		if err != nil {
			continue // it was just removed
		}
		record, err := os.Open(root + "/run/udev/data/b" + strings.TrimSpace(string(number)))
		if err != nil {
			continue // udev has not processed it yet
		}
		known := parseRecord(record)
		record.Close()
		// A disk that is a part of something else, such as a mirror, has the label of the whole as
		// well; its holder is read instead.
		if known["ID_FS_LABEL"] != label || held(root+blocks, d.Name()) {
			continue
		}
		all = append(all, volume{device: "/dev/" + strings.ReplaceAll(d.Name(), "!", "/"), fsType: known["ID_FS_TYPE"]})
	}
	slices.SortFunc(all, func(a, b volume) int { return strings.Compare(a.device, b.device) })
	return all, nil
}

// allKnown reports whether udev has processed each disk and partition. Loop devices and RAM disks
// don't count: they are never a stick.
func allKnown(root string) bool {
	const blocks = "/sys/class/block"
	devices, err := os.ReadDir(root + blocks)
	if err != nil {
		return true // there is nothing to wait for
	}
	return !slices.ContainsFunc(devices, func(d fs.DirEntry) bool {
		if name := d.Name(); strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") || strings.HasPrefix(name, "zram") {
			return false
		}
		number, err := os.ReadFile(filepath.Join(root+blocks, d.Name(), "dev"))
		if err != nil {
			return false // it was just removed
		}
		_, err = os.Lstat(root + "/run/udev/data/b" + strings.TrimSpace(string(number)))
		return err != nil
	})
}

func held(blocks, name string) bool {
	holders, err := os.ReadDir(filepath.Join(blocks, name, "holders"))
	return err == nil && len(holders) > 0
}

// parseRecord reads the properties in a udev record, "E:NAME=VALUE" in lines.
func parseRecord(r io.Reader) map[string]string {
	known := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(r, 1<<20))
	for lines.Scan() {
		if property, ok := strings.CutPrefix(lines.Text(), "E:"); ok {
			name, value, _ := strings.Cut(property, "=")
			known[name] = value
		}
	}
	return known
}
