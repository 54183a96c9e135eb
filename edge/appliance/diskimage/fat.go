package diskimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Device is a disk, or an image of one. *os.File is one.
type Device interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Limits of a file system, which an ESP is far from.
const (
	maxTable   = 64 << 20 // octets of an allocation table: 16 million clusters
	maxFolder  = 2 << 20  // octets of a folder, as the format has it
	maxFolders = 10_000
	maxDeep    = 16
)

// ErrDamaged is wrapped by errors of a file system that fsck.vfat should look at.
var ErrDamaged = errors.New("the file system is damaged, see fsck.vfat")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// FAT is a file system, FAT16 or FAT32. It is one goroutine's.
type FAT struct {
	dev   Device
	start int64 // of it, in octets from the beginning of dev

	sector    int64 // octets
	cluster   int64 // octets
	reserved  int64 // sectors before the first table
	tables    int64
	tableSize int64 // octets
	rootSize  int64 // octets of FAT16's root folder; 0: FAT32, which has it in clusters
	root      uint32
	data      int64  // octets from start to cluster 2
	last      uint32 // cluster
	info      int64  // sector of FSInfo; 0: none
	wide      bool   // FAT32
	table     []byte
	changed   map[int64]bool // sectors of table that are not written
	used      []byte         // a bit for each cluster that a file or folder has
	free      uint32         // clusters

	// Dirty says that it was not unmounted in good order.
	Dirty bool
	// Label is that of the volume, without spaces at its end.
	Label string
}

// Open opens the file system in a partition of a disk of size octets, and looks at
// all of it. The error wraps ErrDamaged if that shows that something is wrong.
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

// boot reads the boot sector (the BIOS parameter block).
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

// next is the entry of a cluster in the table.
func (f *FAT) next(c uint32) uint32 {
	if f.wide {
		return binary.LittleEndian.Uint32(f.table[c*4:]) & 0x0fffffff
	}
	return uint32(binary.LittleEndian.Uint16(f.table[c*2:]))
}

// set changes the entry of a cluster, in memory.
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

// end is the entry of a chain's last cluster.
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

// chain are the clusters of a file or folder that begins at c; at most `most` octets
// of them. 0 is the beginning of an empty file.
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

// at is where a cluster is, in octets from the beginning of the device.
func (f *FAT) at(c uint32) int64 { return f.start + f.data + int64(c-2)*f.cluster }

// readClusters reads the content of a chain, cut to size.
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

// Free is how many octets are free.
func (f *FAT) Free() int64 { return int64(f.free) * f.cluster }

// survey follows every chain once, and finds out what is in use.
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
			if !e.Folder { // more than its size is allowed: what was reserved for it
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

// claim marks the clusters of a chain as in use, and finds any that is so already.
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

// fatTime is a time as folders have it: two seconds are its unit, and it knows no
// zone, so that it is UTC here. 1980 to 2107.
func fatTime(t time.Time) (date, clock uint16) {
	t = t.UTC()
	year := min(max(t.Year(), 1980), 2107) - 1980
	return uint16(year<<9 | int(t.Month())<<5 | t.Day()), uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}
