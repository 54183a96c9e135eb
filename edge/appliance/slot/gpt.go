package slot

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"anymx/edge/appliance/diskimage"
)

// UUID is a UUID in text form: "4f68bce3-e8cd-4db1-96e7-fbcaf984b709".
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
	Start  int64 // bytes from the beginning of the disk
	Size   int64 // bytes
}

// ErrNoTable is wrapped by the error for a disk without a GUID partition table.
var ErrNoTable = diskimage.ErrNoTable

// ReadTable reads the GUID partition table of a disk of size bytes: the primary one, or the backup
// if that is damaged. Partitions are in the order of their numbers.
func ReadTable(disk io.ReaderAt, size int64) ([]Partition, error) {
	table, err := diskimage.ReadTable(disk, size)
	if err != nil {
		return nil, err
	}
	list := make([]Partition, 0, len(table.Partitions))
	for _, p := range table.Partitions {
		if p.Start < 0 || p.Size < 0 || p.Start > size-p.Size {
			return nil, fmt.Errorf("partition %d ends after the disk", p.Number)
		}
		list = append(list, Partition{Number: p.Number, Type: UUID(p.Type.String()), ID: UUID(p.ID.String()), Label: p.Label, Start: p.Start, Size: p.Size})
	}
	return list, nil
}

// RootHashSize is the length of a root hash in bytes: it is a SHA-256.
const RootHashSize = 32

// PartitionsOf returns the UUIDs of the partitions of a root hash, by which they are found at boot:
// the first half is the root's, the second half that of its hash tree
// (systemd-veritysetup-generator(8)). The root hash is in lower-case hexadecimal digits; ok is
// false if it is invalid.
func PartitionsOf(rootHash string) (root, verity UUID, ok bool) {
	b, err := hex.DecodeString(rootHash)
	if err != nil || len(b) != RootHashSize || rootHash != strings.ToLower(rootHash) {
		return "", "", false
	}
	return uuidOf(b[:16]), uuidOf(b[16:]), true
}

// byNumber sorts partitions.
func byNumber(a, b Partition) int { return cmp.Compare(a.Number, b.Number) }

// uuidOf formats sixteen bytes in their order.
func uuidOf(b []byte) UUID {
	s := hex.EncodeToString(b)
	return UUID(strings.Join([]string{s[:8], s[8:12], s[12:16], s[16:20], s[20:]}, "-"))
}
