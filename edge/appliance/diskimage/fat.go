package diskimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Device is a disk or a disk image. *os.File is one.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Limits of a file system. An ESP is far below them.
const (
	maxTable   = 64 << 20 // bytes of an allocation table: 16 million clusters
	maxFolder  = 2 << 20  // bytes of a folder, as the format limits it
	maxFolders = 10_000
	maxDeep    = 16
)

// ErrDamaged is wrapped by errors about a file system that fsck.vfat should check.
var ErrDamaged = errors.New("the file system is damaged, see fsck.vfat")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// FAT is a FAT16 or FAT32 file system. It is not safe for concurrent use.
type FAT struct {
	dev   Device
	start int64 // bytes from the beginning of dev

	sector    int64 // bytes
	cluster   int64 // bytes
	reserved  int64 // sectors before the first table
	tables    int64
	tableSize int64 // bytes
	rootSize  int64 // bytes of FAT16's root folder; 0: FAT32, which has it in clusters
	root      uint32
	data      int64  // bytes from start to cluster 2
	last      uint32 // number of the last cluster
	info      int64  // sector of FSInfo; 0: it has none
	wide      bool   // FAT32
	table     []byte
	changed   map[int64]bool // sectors of table that are not yet written
	used      []byte         // a bit for each cluster that a file or folder uses
	free      uint32         // clusters

	// Dirty reports that it was not cleanly unmounted.
	Dirty bool
	// Label is the volume label, without trailing spaces.
	Label string
}

// Open opens the file system in a partition of a disk of size bytes and checks all of it. The error
// wraps ErrDamaged if the check fails.
func Open(dev Device, size int64, p Partition) (*FAT, error) {
	if p.Start < 0 || p.Size <= 0 || p.Start > size || p.Size > size-p.Start {
		return nil, fmt.Errorf("the partition %q ends behind the end of the disk: the image is cut short", p.Label)
	}
	f := &FAT{dev: dev, start: p.Start, changed: map[int64]bool{}}
	boot := make([]byte, 512)
	if _, err := dev.ReadAt(boot, p.Start); err != nil {
		return nil, fmt.Errorf("file system: %w", err)
	}
	if err := f.boot(boot, p.Size); err != nil {
		return nil, err
	}
	if f.tableSize > maxTable {
		return nil, errors.New("file system: it is too large for an ESP")
	}
	f.table = make([]byte, f.tableSize)
	if _, err := dev.ReadAt(f.table, f.start+f.reserved*f.sector); err != nil {
		return nil, fmt.Errorf("file system: its table: %w", err)
	}
	return f, f.survey()
}

// boot parses the boot sector (the BIOS parameter block).
func (f *FAT) boot(b []byte, size int64) error {
	le := binary.LittleEndian
	if b[510] != 0x55 || b[511] != 0xaa || b[0] != 0xeb && b[0] != 0xe9 {
		return errors.New("no FAT file system")
	}
	f.sector = int64(le.Uint16(b[11:]))
	perCluster := int64(b[13])
	f.reserved, f.tables = int64(le.Uint16(b[14:])), int64(b[16])
	rootEntries := int64(le.Uint16(b[17:]))
	total := int64(le.Uint16(b[19:]))
	if total == 0 {
		total = int64(le.Uint32(b[32:]))
	}
	perTable := int64(le.Uint16(b[22:]))
	if perTable == 0 {
		perTable = int64(le.Uint32(b[36:]))
	}
	powerOf2 := func(n int64) bool { return n > 0 && n&(n-1) == 0 }
	switch {
	case f.sector < 512 || f.sector > 4096 || !powerOf2(f.sector) || !powerOf2(perCluster),
		f.reserved == 0, f.tables == 0 || f.tables > 4, perTable == 0:
		return errors.New("no FAT file system")
	case total*f.sector > size:
		return damaged("it is larger than its partition")
	}
	f.cluster = perCluster * f.sector
	f.tableSize = perTable * f.sector
	f.rootSize = (rootEntries*entrySize + f.sector - 1) / f.sector * f.sector
	f.data = f.reserved*f.sector + f.tables*f.tableSize + f.rootSize
	clusters := (total*f.sector - f.data) / f.cluster
	switch {
	case f.data > total*f.sector || clusters < 1:
		return damaged("it has no room for data")
	case clusters < 4085:
		return errors.New("FAT12 is not supported: an ESP has FAT32 or FAT16")
	}
	f.wide = clusters >= 65525
	f.last = uint32(clusters + 1)
	width := int64(2)
	if f.wide {
		width = 4
	}
	if f.wide != (f.rootSize == 0) || int64(f.last+1)*width > f.tableSize || f.last >= 0x0ffffff0 {
		return damaged("its sizes contradict each other")
	}
	f.Dirty = b[37]&1 != 0
	if f.wide {
		if le.Uint16(b[40:])&0x80 != 0 {
			return errors.New("its tables are not copies of each other, which is not supported")
		}
		f.root, f.info, f.Dirty = le.Uint32(b[44:]), int64(le.Uint16(b[48:])), b[65]&1 != 0
		if f.info >= f.reserved || f.info == 0xffff {
			f.info = 0
		}
	}
	return nil
}

// next returns the table entry of a cluster.
func (f *FAT) next(c uint32) uint32 {
	if f.wide {
		return binary.LittleEndian.Uint32(f.table[c*4:]) & 0x0fffffff
	}
	return uint32(binary.LittleEndian.Uint16(f.table[c*2:]))
}

// set changes the table entry of a cluster in memory.
func (f *FAT) set(c, value uint32) {
	width := int64(2)
	if f.wide {
		width = 4
	}
	f.changed[int64(c)*width/f.sector] = true
	if f.wide {
		kept := binary.LittleEndian.Uint32(f.table[c*4:]) & 0xf0000000
		binary.LittleEndian.PutUint32(f.table[c*4:], kept|value&0x0fffffff)
		return
	}
	binary.LittleEndian.PutUint16(f.table[c*2:], uint16(value))
}

// end returns the value that marks the last cluster of a chain.
func (f *FAT) end() uint32 {
	if f.wide {
		return 0x0fffffff
	}
	return 0xffff
}

func (f *FAT) isEnd(value uint32) bool {
	if f.wide {
		return value >= 0x0ffffff8
	}
	return value >= 0xfff8
}

// chain returns the clusters of a file or folder that begins at c, for at most `most` bytes. An
// empty file begins at 0.
func (f *FAT) chain(c uint32, most int64) ([]uint32, error) {
	if c == 0 {
		return nil, nil
	}
	var list []uint32
	for len(list) == 0 || !f.isEnd(c) {
		if c < 2 || c > f.last {
			return nil, damaged("a chain leads to cluster %d", c)
		}
		if int64(len(list))*f.cluster >= most || len(list) > int(f.last) {
			return nil, damaged("a chain is longer than its file")
		}
		list = append(list, c)
		c = f.next(c)
	}
	return list, nil
}

// at returns where a cluster is, in bytes from the beginning of the device.
func (f *FAT) at(c uint32) int64 { return f.start + f.data + int64(c-2)*f.cluster }

// readClusters reads the content of a chain and truncates it to size.
func (f *FAT) readClusters(list []uint32, size int64) ([]byte, error) {
	b := make([]byte, int64(len(list))*f.cluster)
	for i, c := range list {
		if _, err := f.dev.ReadAt(b[int64(i)*f.cluster:int64(i+1)*f.cluster], f.at(c)); err != nil {
			return nil, err
		}
	}
	if int64(len(b)) < size {
		return nil, damaged("a file is shorter than it says")
	}
	return b[:size], nil
}

// Free returns the number of free bytes.
func (f *FAT) Free() int64 { return int64(f.free) * f.cluster }

// survey follows every chain once and records which clusters are in use.
func (f *FAT) survey() error {
	f.used = make([]byte, f.last/8+1)
	folders := []folderAt{{cluster: f.root}}
	if f.wide {
		if f.root == 0 {
			return damaged("the root folder has no beginning")
		}
		if err := f.claim(f.root, maxFolder); err != nil {
			return fmt.Errorf("root folder: %w", err)
		}
	}
	for n := 0; n < len(folders); n++ {
		if n > maxFolders {
			return damaged("more than %d folders", maxFolders)
		}
		at := folders[n]
		entries, err := f.entries(at.cluster)
		if err != nil {
			return fmt.Errorf("folder %q: %w", at.path, err)
		}
		for _, e := range entries {
			most := int64(maxFolder)
			if !e.Folder { // a file may have more clusters than its size needs, if they were reserved
				most = int64(f.last) * f.cluster
			}
			path := at.path + "/" + e.Name
			if err := f.claim(e.cluster, most); err != nil {
				return fmt.Errorf("%q: %w", path, err)
			}
			if e.Folder {
				if at.deep+1 > maxDeep {
					return damaged("folders in folders in folders: %q", path)
				}
				folders = append(folders, folderAt{path, e.cluster, at.deep + 1})
			}
		}
	}
	for c := uint32(2); c <= f.last; c++ {
		if f.next(c) == 0 {
			f.free++
		}
	}
	return nil
}

type folderAt struct {
	path    string
	cluster uint32
	deep    int
}

// claim marks the clusters of a chain as used. It fails if one already is.
func (f *FAT) claim(c uint32, most int64) error {
	list, err := f.chain(c, most)
	if err != nil {
		return err
	}
	for _, c := range list {
		if f.used[c/8]&(1<<(c%8)) != 0 {
			return damaged("two files have cluster %d", c)
		}
		f.used[c/8] |= 1 << (c % 8)
	}
	return nil
}

// fatTime returns a time in the form that folders use: a resolution of two seconds, from 1980 to
// 2107. The format has no time zone; we write UTC.
func fatTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	year := min(max(t.Year(), 1980), 2107) - 1980
	return uint16(year<<9 | int(t.Month())<<5 | t.Day()), uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}
