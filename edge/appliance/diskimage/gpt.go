package diskimage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

// GUID is a GUID as stored on disk: the first three fields are little-endian.
type GUID [16]byte

// String returns the usual form, in lower case.
func (g GUID) String() string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", binary.LittleEndian.Uint32(g[0:]),
		binary.LittleEndian.Uint16(g[4:]), binary.LittleEndian.Uint16(g[6:]), g[8:10], g[10:16])
}

// ESP is the type of the partition that the firmware boots from.
var ESP = GUID{0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b}

// Partition is one entry of the table.
type Partition struct {
	Number int    // from 1
	Type   GUID   // its purpose
	ID     GUID   // unique to this partition
	Label  string // such as "anymx_0.5.0"
	Start  int64  // bytes from the beginning of the disk
	Size   int64  // bytes
}

// Table is a partition table.
type Table struct {
	Sector int // bytes: 512 or 4096
	Disk   GUID
	// Size is the disk size that the table was made for, in bytes.
	Size int64
	// Partitions are the used entries, ordered by number.
	Partitions []Partition
	// Primary and Backup say what is wrong with that copy of the table; nil: nothing. At most one
	// of them is set.
	Primary, Backup error
}

// ErrNoTable is wrapped by the error of ReadTable if there is no GPT at all.
var ErrNoTable = errors.New("no GUID partition table")

// Limits of a table.
const (
	maxEntries   = 1024
	minEntry     = 128
	maxEntrySize = 4096 // bytes
	headerSize   = 92
)

var gptSignature = []byte("EFI PART")

// ReadTable reads the partition table of a disk of size bytes.
func ReadTable(r io.ReaderAt, size int64) (*Table, error) {
	var found []error
	for _, sector := range []int{512, 4096} {
		t, err := readTable(r, size, int64(sector))
		if err == nil {
			return t, nil
		}
		if !errors.Is(err, ErrNoTable) {
			found = append(found, err)
		}
	}
	if len(found) > 0 {
		return nil, found[0]
	}
	return nil, ErrNoTable
}

// readTable assumes one sector size. The backup is where the primary says, which is not the end of
// the disk if the image was written to a larger one. Without a valid primary, it can only be at the
// end.
func readTable(r io.ReaderAt, size, sector int64) (*Table, error) {
	if size < 6*sector {
		return nil, ErrNoTable
	}
	first, firstErr := readHeader(r, size, sector, 1)
	at := size/sector - 1
	if firstErr == nil {
		at = int64(first.other)
	}
	second, secondErr := readHeader(r, size, sector, at)
	switch {
	case firstErr == nil:
		if secondErr == nil && !first.same(second) {
			secondErr = errors.New("it differs from the first copy")
		}
		t := first.table(sector)
		t.Backup = secondErr
		return t, nil
	case secondErr == nil:
		t := second.table(sector)
		t.Primary = firstErr
		return t, nil
	case errors.Is(firstErr, ErrNoTable) && errors.Is(secondErr, ErrNoTable):
		return nil, ErrNoTable
	}
	return nil, fmt.Errorf("partition table: both copies are damaged: %w; %w", firstErr, secondErr)
}

// header is one copy of the table.
type header struct {
	own, other uint64 // sectors
	first      uint64 // first sector that partitions may use
	last       uint64
	disk       GUID
	entries    []byte // of `each` bytes
	each       int
}

func (h *header) same(o *header) bool {
	return h.disk == o.disk && h.first == o.first && h.last == o.last && h.own == o.other && h.other == o.own &&
		h.each == o.each && string(h.entries) == string(o.entries)
}

// readHeader reads and checks the copy whose header is in sector at.
func readHeader(r io.ReaderAt, size, sector, at int64) (*header, error) {
	sectors := uint64(size / sector)
	if at <= 0 || uint64(at) >= sectors {
		return nil, fmt.Errorf("its header would lie in sector %d of %d", at, sectors)
	}
	b := make([]byte, sector)
	if _, err := r.ReadAt(b, at*sector); err != nil {
		return nil, fmt.Errorf("sector %d: %w", at, err)
	}
	h, table, err := parseHeader(b, uint64(at), sectors)
	if err != nil {
		return nil, err
	}
	h.entries = make([]byte, table.bytes)
	if _, err := r.ReadAt(h.entries, int64(table.sector)*sector); err != nil {
		return nil, fmt.Errorf("sector %d: %w", table.sector, err)
	}
	if sum := crc32.ChecksumIEEE(h.entries); sum != table.sum {
		return nil, errors.New("the checksum of its partitions is wrong")
	}
	return h, h.check(sector)
}

// entryTable says where the entries of a header are.
type entryTable struct {
	sector uint64
	bytes  int
	sum    uint32
}

// parseHeader parses the header b, read from sector at of a disk with so many sectors.
func parseHeader(b []byte, at, sectors uint64) (*header, entryTable, error) {
	le := binary.LittleEndian
	if string(b[:8]) != string(gptSignature) {
		return nil, entryTable{}, ErrNoTable
	}
	length := le.Uint32(b[12:])
	if length < headerSize || int(length) > len(b) {
		return nil, entryTable{}, fmt.Errorf("its header has %d bytes", length)
	}
	zeroed := append([]byte{}, b[:length]...)
	le.PutUint32(zeroed[16:], 0)
	if crc32.ChecksumIEEE(zeroed) != le.Uint32(b[16:]) {
		return nil, entryTable{}, errors.New("the checksum of its header is wrong")
	}
	h := &header{
		own: le.Uint64(b[24:]), other: le.Uint64(b[32:]), first: le.Uint64(b[40:]), last: le.Uint64(b[48:]),
		disk: GUID(b[56:72]), each: int(le.Uint32(b[84:])),
	}
	n := le.Uint32(b[80:])
	t := entryTable{sector: le.Uint64(b[72:]), sum: le.Uint32(b[88:])}
	switch {
	case h.own != at:
		return nil, t, fmt.Errorf("it says that it is in sector %d, and is in %d", h.own, at)
	case n == 0 || n > maxEntries || h.each < minEntry || h.each > maxEntrySize || h.each&(h.each-1) != 0:
		return nil, t, fmt.Errorf("it has %d entries of %d bytes", n, h.each)
	}
	t.bytes = int(n) * h.each
	if used := uint64(t.bytes+len(b)-1) / uint64(len(b)); t.sector < 2 || t.sector >= sectors || used > sectors-t.sector {
		return nil, t, errors.New("its entries lie outside of the disk")
	}
	return h, t, nil
}

// check validates the partitions, except that they end within the disk: whoever opens a partition
// checks that, because a truncated image still has a valid table.
func (h *header) check(sector int64) error {
	const most = 1 << 62
	for i := 0; i < len(h.entries); i += h.each {
		e := h.entries[i : i+h.each]
		if GUID(e[:16]) == (GUID{}) {
			continue
		}
		first, last := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if first < 2 || last < first || last >= uint64(most/sector) {
			return fmt.Errorf("partition %d goes from sector %d to %d", i/h.each+1, first, last)
		}
	}
	return nil
}

func (h *header) table(sector int64) *Table {
	t := &Table{Sector: int(sector), Disk: h.disk, Size: int64(max(h.own, h.other)+1) * sector}
	for i := 0; i < len(h.entries); i += h.each {
		e := h.entries[i : i+h.each]
		if GUID(e[:16]) == (GUID{}) {
			continue
		}
		first, last := int64(binary.LittleEndian.Uint64(e[32:])), int64(binary.LittleEndian.Uint64(e[40:]))
		t.Partitions = append(t.Partitions, Partition{
			Number: i/h.each + 1, Type: GUID(e[:16]), ID: GUID(e[16:32]), Label: labelOf(e[56:128]),
			Start: first * sector, Size: (last - first + 1) * sector,
		})
	}
	return t
}

// labelOf decodes a label: UTF-16 up to the first zero.
func labelOf(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}

// ESP returns the one partition that the firmware boots from.
func (t *Table) ESP() (Partition, error) {
	var all []Partition
	for _, p := range t.Partitions {
		if p.Type == ESP {
			all = append(all, p)
		}
	}
	switch len(all) {
	case 0:
		return Partition{}, errors.New("there is no EFI system partition")
	case 1:
		return all[0], nil
	}
	return Partition{}, fmt.Errorf("there are %d EFI system partitions", len(all))
}

// Damage describes in one line what is wrong with a copy of the table, or returns "".
func (t *Table) Damage() string {
	var texts []string
	if t.Primary != nil {
		texts = append(texts, "the first copy of the partition table is damaged: "+t.Primary.Error())
	}
	if t.Backup != nil {
		texts = append(texts, "the second copy of the partition table is damaged: "+t.Backup.Error())
	}
	return strings.Join(texts, "; ")
}
