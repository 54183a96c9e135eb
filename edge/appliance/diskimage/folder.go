package diskimage

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf16"
)

// Entry is a file or a folder.
type Entry struct {
	Name   string
	Folder bool
	Size   int64 // bytes; 0 for a folder

	cluster uint32
	short   string // as stored on disk, 11 bytes
	offset  int64  // of its short entry, in bytes from the beginning of its folder
}

// Constants of a folder entry.
const (
	entrySize = 32

	attrVolume = 0x08
	attrFolder = 0x10
	attrLong   = 0x0f // volume, system, hidden and read-only together
	attrFile   = 0x20 // "archive", which every new file gets

	lowerBase = 0x08 // bits of the byte that says which halves of a short name are in lower case
	lowerExt  = 0x10

	entryEnd     = 0x00
	entryRemoved = 0xe5
	lastLong     = 0x40
)

// folder reads the content of the folder that begins at cluster; 0 means the root.
func (f *FAT) folder(cluster uint32) ([]byte, error) {
	if cluster == 0 && f.wide {
		cluster = f.root
	}
	if cluster == 0 {
		b := make([]byte, f.rootSize)
		_, err := f.dev.ReadAt(b, f.start+f.data-f.rootSize)
		return b, err
	}
	list, err := f.chain(cluster, maxFolder)
	if err != nil {
		return nil, err
	}
	return f.readClusters(list, int64(len(list))*f.cluster)
}

// entries returns the files and folders in a folder, without "." and "..".
func (f *FAT) entries(cluster uint32) ([]Entry, error) {
	b, err := f.folder(cluster)
	if err != nil {
		return nil, err
	}
	list, label := parseFolder(b, f.wide)
	if cluster == 0 || cluster == f.root {
		f.Label = label
	}
	for _, e := range list {
		if e.Folder && e.cluster == 0 {
			return nil, damaged("the folder %q has no beginning", e.Name)
		}
	}
	return list, nil
}

// parseFolder parses the entries of a folder, and the volume label if there is one. It does no I/O.
func parseFolder(b []byte, wide bool) (list []Entry, label string) {
	var long longName
	for i := 0; i+entrySize <= len(b); i += entrySize {
		e := b[i : i+entrySize]
		switch {
		case e[0] == entryEnd:
			return list, label
		case e[0] == entryRemoved:
			long = longName{}
			continue
		case e[11]&0x3f == attrLong:
			long.add(e)
			continue
		case e[11]&attrVolume != 0:
			label, long = strings.TrimRight(string(e[:11]), " "), longName{}
			continue
		}
		entry := Entry{short: string(e[:11]), offset: int64(i), Folder: e[11]&attrFolder != 0}
		entry.cluster = uint32(binary.LittleEndian.Uint16(e[26:]))
		if wide {
			entry.cluster |= uint32(binary.LittleEndian.Uint16(e[20:])) << 16
		}
		if !entry.Folder {
			entry.Size = int64(binary.LittleEndian.Uint32(e[28:]))
		}
		entry.Name = long.name(e[:11])
		if entry.Name == "" {
			entry.Name = shortText(e)
		}
		long = longName{}
		if e[0] != '.' { // "." and ".."
			list = append(list, entry)
		}
	}
	return list, label
}

// shortText returns a short name in readable form.
func shortText(e []byte) string {
	name, ext := string(e[:8]), string(e[8:11])
	if e[0] == 0x05 { // 0x05 encodes 0xe5, which would mark a removed entry
		name = "\xe5" + name[1:]
	}
	name, ext = strings.TrimRight(name, " "), strings.TrimRight(ext, " ")
	if e[12]&lowerBase != 0 {
		name = strings.ToLower(name)
	}
	if e[12]&lowerExt != 0 {
		ext = strings.ToLower(ext)
	}
	if ext != "" {
		name += "." + ext
	}
	return name
}

// longName collects the entries before a short one; the last part comes first.
type longName struct {
	parts [][]uint16
	left  int // parts still to come; 0: none, or the sequence was invalid
	sum   byte
}

func (l *longName) add(e []byte) {
	n := int(e[0] &^ lastLong)
	if e[0]&lastLong != 0 {
		*l = longName{left: n, sum: e[13]}
	} else if l.left == 0 || n != l.left || e[13] != l.sum {
		*l = longName{}
		return
	}
	if n < 1 || n > 20 {
		*l = longName{}
		return
	}
	units := make([]uint16, 0, 13)
	for _, at := range longAt {
		units = append(units, binary.LittleEndian.Uint16(e[at:]))
	}
	l.parts = append(l.parts, units)
	l.left = n - 1
	if l.left == 0 {
		l.left = -1 // complete
	}
}

// longAt has the offsets of the thirteen characters in an entry.
var longAt = [13]int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30}

// name returns the long name, or "" if it is incomplete or doesn't belong to the short one.
func (l *longName) name(short []byte) string {
	if l.left != -1 || l.sum != checksum(short) {
		return ""
	}
	var units []uint16
	for i := len(l.parts) - 1; i >= 0; i-- {
		units = append(units, l.parts[i]...)
	}
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	return string(utf16.Decode(units))
}

// checksum returns the checksum of a short name, which ties a long name to it.
func checksum(short []byte) byte {
	var sum byte
	for _, c := range short[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// ReadDir lists a folder in on-disk order; "" means the root. The error wraps fs.ErrNotExist if
// there is no such folder.
func (f *FAT) ReadDir(path string) ([]Entry, error) {
	cluster, err := f.find(path)
	if err != nil {
		return nil, err
	}
	return f.entries(cluster)
}

// find returns the first cluster of the folder at path.
func (f *FAT) find(path string) (uint32, error) {
	cluster := uint32(0)
	for name := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' }) {
		e, err := f.lookUp(cluster, name)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		if !e.Folder {
			return 0, fmt.Errorf("%s: %w: %s is a file", path, fs.ErrNotExist, name)
		}
		cluster = e.cluster
	}
	return cluster, nil
}

// lookUp finds a name in a folder, ignoring case.
func (f *FAT) lookUp(cluster uint32, name string) (Entry, error) {
	list, err := f.entries(cluster)
	if err != nil {
		return Entry{}, err
	}
	for _, e := range list {
		if strings.EqualFold(e.Name, name) || strings.EqualFold(shortPlain(e.short), name) {
			return e, nil
		}
	}
	return Entry{}, fs.ErrNotExist
}

// shortPlain returns a short name with its dot.
func shortPlain(short string) string {
	name, ext := strings.TrimRight(short[:8], " "), strings.TrimRight(short[8:], " ")
	if ext != "" {
		name += "." + ext
	}
	return name
}

// ReadFile reads a file of at most `most` bytes. The error wraps fs.ErrNotExist if there is no such
// file.
func (f *FAT) ReadFile(path string, most int64) ([]byte, error) {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	cluster, err := f.find(dir)
	if err != nil {
		return nil, err
	}
	e, err := f.lookUp(cluster, name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case e.Folder:
		return nil, fmt.Errorf("%s: %w: it is a folder", path, fs.ErrNotExist)
	case e.Size > most:
		return nil, fmt.Errorf("%s has %d bytes; at most %d are read", path, e.Size, most)
	}
	list, err := f.chain(e.cluster, int64(f.last)*f.cluster)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f.readClusters(list, e.Size)
}
