// Package slottest creates disks for tests: files with a GUID partition table, and a machine around
// one, with an ESP, an os-release and a kernel command line.
//
// What happens to the data: WriteTable writes both copies of a partition table, as a partitioning
// tool does, and nothing else of the file.
package slottest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"anymx/edge/appliance/slot"
)

const sector = 512

// Sizes of the partitions of a Machine, in bytes.
const (
	VeritySize = 1 << 20
	RootSize   = 4 << 20
	diskSize   = 16 << 20
)

// WriteTable writes the partition table of the disk in file.
func WriteTable(file string, partitions []slot.Partition) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	table := make([]byte, 128*128)
	for _, p := range partitions {
		b := table[(p.Number-1)*128:]
		copy(b, turned(p.Type))
		copy(b[16:], turned(p.ID))
		binary.LittleEndian.PutUint64(b[32:], uint64(p.Start/sector))
		binary.LittleEndian.PutUint64(b[40:], uint64((p.Start+p.Size)/sector-1))
		for i, u := range utf16.Encode([]rune(p.Label)) {
			binary.LittleEndian.PutUint16(b[56+2*i:], u)
		}
	}
	last := size/sector - 1
	if _, err := f.WriteAt(protectiveMBR(last), 446); err != nil {
		return err
	}
	for _, at := range []struct{ header, table int64 }{{1, 2}, {last, last - 32}} {
		if _, err := f.WriteAt(table, at.table*sector); err != nil {
			return err
		}
		if _, err := f.WriteAt(header(at.header, at.table, last, table), at.header*sector); err != nil {
			return err
		}
	}
	return nil
}

// protectiveMBR is the end of the first sector, which marks the whole disk as used (UEFI
// specification, 5.2.3).
func protectiveMBR(last int64) []byte {
	b := make([]byte, 66)
	copy(b[1:], []byte{0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1})
	binary.LittleEndian.PutUint32(b[12:], uint32(last))
	copy(b[64:], []byte{0x55, 0xaa})
	return b
}

func header(at, tableAt, last int64, table []byte) []byte {
	h := make([]byte, 92)
	le := binary.LittleEndian
	copy(h, "EFI PART\x00\x00\x01\x00")
	le.PutUint32(h[12:], 92)
	le.PutUint64(h[24:], uint64(at))
	le.PutUint64(h[32:], uint64(last+1-at))
	le.PutUint64(h[40:], 34)
	le.PutUint64(h[48:], uint64(last-33))
	le.PutUint64(h[72:], uint64(tableAt))
	le.PutUint32(h[80:], 128)
	le.PutUint32(h[84:], 128)
	le.PutUint32(h[88:], crc32.ChecksumIEEE(table))
	le.PutUint32(h[16:], crc32.ChecksumIEEE(h))
	return h
}

// turned converts a UUID to its form in a partition table.
func turned(u slot.UUID) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(string(u), "-", ""))
	if err != nil || len(b) != 16 {
		panic(fmt.Sprintf("%q is not a UUID", u))
	}
	slices.Reverse(b[:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	return b
}

// Machine is a machine whose disk, ESP and system files are below one directory.
type Machine struct {
	slot.System
}

// New creates a machine that runs a version from the first of its two slots. The second one is
// empty.
func New(t testing.TB, version, rootHash string) *Machine {
	t.Helper()
	root := t.TempDir()
	m := &Machine{slot.System{Root: root, ESP: root + "/efi", Disk: root + "/disk"}}
	for _, dir := range []string{"/etc", "/proc", "/efi/EFI/Linux"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Create(m.Disk)
	if err == nil {
		err = f.Truncate(diskSize)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	rootID, verityID, ok := slot.PartitionsOf(rootHash)
	if !ok {
		t.Fatalf("%q is not a root hash", rootHash)
	}
	empty := func(n int) slot.UUID { return slot.UUID(fmt.Sprintf("00000000-0000-0000-0000-%012d", n)) }
	at := int64(1 << 20)
	var partitions []slot.Partition
	for i, p := range []slot.Partition{
		{Type: slot.ESPType, ID: empty(1), Label: "esp", Size: 1 << 20},
		{Type: slot.VerityType, ID: verityID, Label: "anymx_" + version + "_verity", Size: VeritySize},
		{Type: slot.RootType, ID: rootID, Label: "anymx_" + version, Size: RootSize},
		{Type: slot.VerityType, ID: empty(2), Label: "_empty", Size: VeritySize},
		{Type: slot.RootType, ID: empty(3), Label: "_empty", Size: RootSize},
	} {
		p.Number, p.Start = i+1, at
		at += p.Size
		partitions = append(partitions, p)
	}
	if err := WriteTable(m.Disk, partitions); err != nil {
		t.Fatal(err)
	}
	m.Boot(t, version, rootHash)
	m.Entry(t, "anymx_"+version+"+3.efi", "kernel of "+version)
	return m
}

// Boot makes the machine run another version.
func (m *Machine) Boot(t testing.TB, version, rootHash string) {
	t.Helper()
	m.write(t, m.Root+"/etc/os-release", "ID=anymx\nIMAGE_ID=anymx\nIMAGE_VERSION="+version+"\n")
	m.write(t, m.Root+"/proc/cmdline", "console=ttyS0 roothash="+rootHash+" panic=10\n")
	m.write(t, m.Root+"/proc/uptime", "12.34 20.00\n")
}

// Entry adds a boot entry to the ESP.
func (m *Machine) Entry(t testing.TB, name, content string) {
	t.Helper()
	m.write(t, filepath.Join(m.ESP, "EFI/Linux", name), content)
}

// Names returns the names of the ESP's boot entries.
func (m *Machine) Names(t testing.TB) []string {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(m.ESP, "EFI/Linux"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// Partitions reads the disk's table.
func (m *Machine) Partitions(t testing.TB) []slot.Partition {
	t.Helper()
	list, err := slot.ReadDisk(m.Disk)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (m *Machine) write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
