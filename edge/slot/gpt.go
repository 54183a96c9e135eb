package slot

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"strings"
	"unicode/utf16"
)

// UUID is as in text: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709".
type UUID string

// Types of partitions (Discoverable Partitions Specification).
const (
	RootType   UUID = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709" // of x86-64
	VerityType UUID = "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5" // of x86-64
	ESPType    UUID = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
)

// Partition is one partition of a disk.
type Partition struct {
	Number int // from 1 on
	Type   UUID
	ID     UUID
	Label  string
	Start  int64 // octets from the beginning of the disk
	Size   int64 // octets
}

// ErrNoTable is wrapped by the error for a disk without a GUID partition table.
var ErrNoTable = errors.New("no GUID partition table")

// Limits of a partition table that is believed.
const (
	maxPartitions = 1024
	maxEntrySize  = 4096
)

// ReadTable reads the GUID partition table of a disk of size octets (UEFI
// specification, 5.3): the one at its beginning, or, if that is damaged, the one
// at its end. Partitions are in the order of their numbers.
func ReadTable(disk io.ReaderAt, size int64) ([]Partition, error) {
	var first error
	for _, sector := range []int64{512, 4096} {
		for _, at := range []int64{sector, size - sector} {
			list, err := readTable(disk, sector, at, size)
			if err == nil {
				return list, nil
			}
			if first == nil || errors.Is(first, ErrNoTable) {
				first = err
			}
		}
	}
	return nil, first
}

// readTable reads the table whose header is at an offset.
func readTable(disk io.ReaderAt, sector, at, size int64) ([]Partition, error) {
	header := make([]byte, 92)
	if at < 0 {
		return nil, ErrNoTable
	}
	if _, err := disk.ReadAt(header, at); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTable, err)
	}
	le := binary.LittleEndian
	sum := le.Uint32(header[16:])
	clear(header[16:20])
	if string(header[:8]) != "EFI PART" || le.Uint32(header[12:]) != 92 {
		return nil, ErrNoTable
	}
	if crc32.ChecksumIEEE(header) != sum {
		return nil, errors.New("the header of the partition table is damaged")
	}
	start, count, entry := le.Uint64(header[72:]), le.Uint32(header[80:]), le.Uint32(header[84:])
	if count > maxPartitions || entry < 128 || entry > maxEntrySize || start > uint64(size/sector) {
		return nil, errors.New("the partition table is larger than can be")
	}
	table := make([]byte, int(count)*int(entry))
	if _, err := disk.ReadAt(table, int64(start)*sector); err != nil {
		return nil, fmt.Errorf("the partition table can't be read: %w", err)
	}
	if crc32.ChecksumIEEE(table) != le.Uint32(header[88:]) {
		return nil, errors.New("the partition table is damaged")
	}
	var list []Partition
	for i := range int(count) {
		p, used, err := parsePartition(table[i*int(entry):], sector, size)
		if err != nil {
			return nil, fmt.Errorf("partition %d: %w", i+1, err)
		}
		if p.Number = i + 1; used {
			list = append(list, p)
		}
	}
	return list, nil
}

// parsePartition reads one entry of a table.
func parsePartition(b []byte, sector, size int64) (p Partition, used bool, err error) {
	le := binary.LittleEndian
	if bytes.Equal(b[:16], make([]byte, 16)) {
		return p, false, nil
	}
	first, last := le.Uint64(b[32:]), le.Uint64(b[40:])
	if sectors := uint64(size / sector); first > last || last >= sectors {
		return p, true, errors.New("it lies outside of the disk")
	}
	p = Partition{Type: uuid(b[:16]), ID: uuid(b[16:32]), Start: int64(first) * sector, Size: int64(last-first+1) * sector}
	name := make([]uint16, 36)
	for i := range name {
		name[i] = le.Uint16(b[56+2*i:])
	}
	if end := slices.Index(name, 0); end >= 0 {
		name = name[:end]
	}
	p.Label = string(utf16.Decode(name))
	return p, true, nil
}

// uuid is what stands in a table, where the first three parts have their octets
// turned round.
func uuid(b []byte) UUID {
	turned := slices.Concat(reversed(b[:4]), reversed(b[4:6]), reversed(b[6:8]), b[8:16])
	return uuidOf(turned)
}

func uuidOf(b []byte) UUID {
	s := hex.EncodeToString(b)
	return UUID(strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-"))
}

func reversed(b []byte) []byte {
	b = slices.Clone(b)
	slices.Reverse(b)
	return b
}

// RootHashSize is how long a root hash is, in octets: it is a SHA-256.
const RootHashSize = 32

// PartitionsOf are the UUIDs that the partitions of a root hash have, which is
// how they are found at boot: the first half is the root's, the second half that
// of its hash tree (systemd-veritysetup-generator(8)). The root hash is in
// lower-case hexadecimal digits; ok is false if it is not one.
func PartitionsOf(rootHash string) (root, verity UUID, ok bool) {
	b, err := hex.DecodeString(rootHash)
	if err != nil || len(b) != RootHashSize || rootHash != strings.ToLower(rootHash) {
		return "", "", false
	}
	return uuidOf(b[:16]), uuidOf(b[16:]), true
}

// byNumber sorts partitions.
func byNumber(a, b Partition) int { return cmp.Compare(a.Number, b.Number) }
