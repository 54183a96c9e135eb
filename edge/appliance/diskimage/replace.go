package diskimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// File is a file to write.
type File struct {
	Name string // its path below the folder, with slashes
	Data []byte
}

// ErrNoSpace is wrapped by the error of Replace if the new files don't fit next to the old ones.
var ErrNoSpace = errors.New("no space left in the file system")

// Replace replaces all content of a folder of the root, which it creates if needed. The folder's
// name has one to eight lower-case letters. Even after a crash, the folder has either its old
// content or its new content.
//
// After an error, the file system is intact but this FAT must not be used again: call Open.
func (f *FAT) Replace(folder string, files []File, now time.Time) error {
	top, err := treeOf(files)
	if err != nil {
		return err
	}
	short, err := shortFolder(folder)
	if err != nil {
		return err
	}
	old, oldClusters, err := f.oldTree(folder)
	if err != nil {
		return err
	}
	c := composer{f: f, now: now, taken: 2}
	if err := c.allocateNode(top); err != nil {
		return err
	}
	at, err := f.rootSlot(old, &c)
	if err != nil {
		return err
	}
	if err := c.write(top, 0); err != nil {
		return err
	}
	if err := f.flushTable(); err != nil {
		return err
	}
	if err := f.switchTo(at, old, c.entry(short, attrFolder, lowerBase, top.clusters, 0)); err != nil {
		return err
	}
	return f.release(oldClusters)
}

// Remove removes a folder of the root and everything in it. It succeeds if there is no such folder.
func (f *FAT) Remove(folder string) error {
	old, clusters, err := f.oldTree(folder)
	if err != nil || old == nil {
		return err
	}
	at, err := f.rootAt(old.offset)
	if err != nil {
		return err
	}
	if err := f.patch(at, []byte{entryRemoved}); err != nil {
		return err
	}
	return f.release(clusters)
}

// oldTree returns the root's folder called name (nil if there is none), and all clusters of it and
// of its content. Open has checked that nothing else uses them.
func (f *FAT) oldTree(name string) (*Entry, []uint32, error) {
	e, err := f.lookUp(0, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	case !e.Folder:
		return nil, nil, fmt.Errorf("%s is a file, not a folder", name)
	}
	clusters, err := f.gather(e, nil)
	return &e, clusters, err
}

func (f *FAT) gather(e Entry, all []uint32) ([]uint32, error) {
	list, err := f.chain(e.cluster, int64(f.last)*f.cluster)
	if err != nil {
		return nil, err
	}
	all = append(all, list...)
	if !e.Folder {
		return all, nil
	}
	inside, err := f.entries(e.cluster)
	if err != nil {
		return nil, err
	}
	for _, e := range inside {
		if all, err = f.gather(e, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// release frees clusters after switchTo.
func (f *FAT) release(clusters []uint32) error {
	for _, c := range clusters {
		f.set(c, 0)
		f.used[c/8] &^= 1 << (c % 8)
		f.free++
	}
	return f.flushTable()
}

// node is a folder or a file to write.
type node struct {
	name     string
	children []*node // nil: a file
	data     []byte
	clusters []uint32
}

// treeOf builds folders from the paths of files.
func treeOf(files []File) (*node, error) {
	top := &node{children: []*node{}}
	for _, file := range files {
		at := top
		parts := strings.Split(file.Name, "/")
		for i, part := range parts {
			if err := checkLongName(part); err != nil {
				return nil, fmt.Errorf("%q: %w", file.Name, err)
			}
			child := at.child(part)
			last := i == len(parts)-1
			switch {
			case child == nil:
				child = &node{name: part}
				if last {
					child.data = file.Data
				} else {
					child.children = []*node{}
				}
				at.children = append(at.children, child)
			case last || child.children == nil || child.name != part:
				return nil, fmt.Errorf("%q stands twice", file.Name)
			}
			at = child
		}
	}
	return top, nil
}

func (n *node) child(name string) *node {
	for _, c := range n.children {
		if strings.EqualFold(c.name, name) {
			return c
		}
	}
	return nil
}

// composer writes a new folder tree to free clusters.
type composer struct {
	f     *FAT
	now   time.Time
	taken uint32 // all clusters before this one are in use
}

// allocateNode allocates clusters for a node and everything in it, in memory.
func (c *composer) allocateNode(n *node) error {
	size := int64(len(n.data))
	if n.children != nil {
		size = 2 * entrySize // "." and ".."
		for _, child := range n.children {
			size += entriesOf(child.name) * entrySize
		}
		if size > maxFolder {
			return errors.New("too many files in a folder")
		}
	}
	list, err := c.allocate((size + c.f.cluster - 1) / c.f.cluster)
	if err != nil {
		return err
	}
	n.clusters = list
	for _, child := range n.children {
		if err := c.allocateNode(child); err != nil {
			return err
		}
	}
	return nil
}

// allocate chains n free clusters.
func (c *composer) allocate(n int64) ([]uint32, error) {
	f := c.f
	if n > int64(f.free) {
		return nil, fmt.Errorf("%w: %d bytes are needed, %d are free", ErrNoSpace, n*f.cluster, f.Free())
	}
	list := make([]uint32, 0, n)
	for int64(len(list)) < n {
		for c.taken <= f.last && f.next(c.taken) != 0 {
			c.taken++
		}
		if c.taken > f.last {
			return nil, ErrNoSpace
		}
		if len(list) > 0 {
			f.set(list[len(list)-1], c.taken)
		}
		f.set(c.taken, f.end())
		list = append(list, c.taken)
		f.free--
	}
	return list, nil
}

// write writes the content of a node, and of everything in it, to the device. parent is the first
// cluster of the folder that contains it.
func (c *composer) write(n *node, parent uint32) error {
	data := n.data
	if n.children != nil {
		data = c.folder(n, parent)
	}
	block := make([]byte, c.f.cluster)
	for i, cluster := range n.clusters {
		clear(block[copy(block, data[int64(i)*c.f.cluster:]):])
		if _, err := c.f.dev.WriteAt(block, c.f.at(cluster)); err != nil {
			return err
		}
	}
	for _, child := range n.children {
		if err := c.write(child, n.clusters[0]); err != nil {
			return err
		}
	}
	return nil
}

// folder returns the content of a folder.
func (c *composer) folder(n *node, parent uint32) []byte {
	b := c.entry([]byte(".          "), attrFolder, 0, n.clusters, 0)
	var up []uint32
	if parent != 0 {
		up = []uint32{parent}
	}
	b = append(b, c.entry([]byte("..         "), attrFolder, 0, up, 0)...)
	shorts := map[string]bool{}
	for _, child := range n.children {
		short := shortName(child.name, shorts)
		b = append(b, longEntries(child.name, short)...)
		attr := byte(attrFile)
		if child.children != nil {
			attr = attrFolder
		}
		b = append(b, c.entry(short, attr, 0, child.clusters, len(child.data))...)
	}
	return b
}

// entry returns a short entry.
func (c *composer) entry(short []byte, attr, lower byte, clusters []uint32, size int) []byte {
	b := make([]byte, entrySize)
	copy(b, short)
	b[11], b[12] = attr, lower
	date, clock := fatTime(c.now)
	le := binary.LittleEndian
	for at, v := range map[int]uint16{14: clock, 16: date, 18: date, 22: clock, 24: date} {
		le.PutUint16(b[at:], v)
	}
	if len(clusters) > 0 {
		le.PutUint16(b[26:], uint16(clusters[0]))
		le.PutUint16(b[20:], uint16(clusters[0]>>16))
	}
	le.PutUint32(b[28:], uint32(size))
	return b
}

// rootAt returns where a byte of the root folder is on the device.
func (f *FAT) rootAt(offset int64) (int64, error) {
	if !f.wide {
		return f.start + f.data - f.rootSize + offset, nil
	}
	list, err := f.chain(f.root, maxFolder)
	if err != nil || offset/f.cluster >= int64(len(list)) {
		return 0, errors.Join(err, damaged("the root folder is shorter than it was"))
	}
	return f.at(list[offset/f.cluster]) + offset%f.cluster, nil
}

// rootSlot returns where on the device the folder's entry is, or a free place for it. A full root
// grows by a cluster, which is written at once: it has no effect until the table links to it.
func (f *FAT) rootSlot(old *Entry, c *composer) (int64, error) {
	if old != nil {
		return f.rootAt(old.offset)
	}
	b, err := f.folder(0)
	if err != nil {
		return 0, err
	}
	for i := 0; i+entrySize <= len(b); i += entrySize {
		if b[i] == entryRemoved {
			return f.rootAt(int64(i))
		}
		if b[i] != entryEnd {
			continue
		}
		if next := i + entrySize; next < len(b) && b[next] != entryEnd { // the next entry must then mark the end
			at, err := f.rootAt(int64(next))
			if err == nil {
				err = f.patch(at, []byte{entryEnd})
			}
			if err != nil {
				return 0, err
			}
		}
		return f.rootAt(int64(i))
	}
	if !f.wide || int64(len(b))+f.cluster > maxFolder {
		return 0, fmt.Errorf("%w: its root folder is full", ErrNoSpace)
	}
	list, err := f.chain(f.root, maxFolder)
	if err != nil {
		return 0, err
	}
	more, err := c.allocate(1)
	if err != nil {
		return 0, err
	}
	f.set(list[len(list)-1], more[0])
	at := f.at(more[0])
	_, err = f.dev.WriteAt(make([]byte, f.cluster), at)
	return at, err
}

// switchTo makes the written tree the current one. It is a single write of one sector. An existing
// entry keeps its name and place.
func (f *FAT) switchTo(at int64, old *Entry, entry []byte) error {
	if old == nil {
		return f.patch(at, entry)
	}
	b := make([]byte, entrySize)
	if _, err := f.dev.ReadAt(b, at); err != nil {
		return err
	}
	copy(b[18:28], entry[18:28]) // dates, time and first cluster
	return f.patch(at, b)
}

// patch changes bytes within one sector by rewriting the whole sector. It syncs before, so that
// earlier writes are on the disk first, and after.
func (f *FAT) patch(at int64, data []byte) error {
	if err := f.dev.Sync(); err != nil {
		return err
	}
	sector := make([]byte, f.sector)
	from := f.start + (at-f.start)/f.sector*f.sector
	if at-from+int64(len(data)) > f.sector {
		return errors.New("an entry that is in two sectors")
	}
	if _, err := f.dev.ReadAt(sector, from); err != nil {
		return err
	}
	copy(sector[at-from:], data)
	if _, err := f.dev.WriteAt(sector, from); err != nil {
		return err
	}
	return f.dev.Sync()
}

// flushTable writes the changed sectors of the table to all copies, after syncing what they point
// to. The first copy is written last, because it is the one that is read.
func (f *FAT) flushTable() error {
	if err := f.dev.Sync(); err != nil {
		return err
	}
	for copyOf := f.tables - 1; copyOf >= 0; copyOf-- {
		base := f.start + f.reserved*f.sector + copyOf*f.tableSize
		for sector := range f.changed {
			if _, err := f.dev.WriteAt(f.table[sector*f.sector:(sector+1)*f.sector], base+sector*f.sector); err != nil {
				return err
			}
		}
	}
	clear(f.changed)
	if err := f.writeInfo(); err != nil {
		return err
	}
	return f.dev.Sync()
}

// writeInfo records the free space, for which FAT32 has a sector.
func (f *FAT) writeInfo() error {
	if f.info == 0 {
		return nil
	}
	b := make([]byte, f.sector)
	at := f.start + f.info*f.sector
	if _, err := f.dev.ReadAt(b, at); err != nil {
		return err
	}
	le := binary.LittleEndian
	if le.Uint32(b) != 0x41615252 || le.Uint32(b[484:]) != 0x61417272 {
		return nil // the sector is invalid, and nobody relies on it
	}
	le.PutUint32(b[488:], f.free)
	_, err := f.dev.WriteAt(b, at)
	return err
}
