package slot_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"anymx/edge/appliance/slot"
	"anymx/edge/appliance/slot/slottest"
)

// testdata/versions.txt has the results of systemd-analyze compare-versions of systemd 257.
func TestCompare(t *testing.T) {
	text, err := os.ReadFile("testdata/versions.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range strings.Lines(string(text)) {
		word := strings.Fields(line)
		want := strings.Index("<=>", word[1]) - 1
		if got := slot.Compare(word[0], word[2]); got != want {
			t.Errorf("%s %s: %d, want %s", word[0], word[2], got, word[1])
		}
		lines++
	}
	if lines < 1000 {
		t.Errorf("only %d lines", lines)
	}
}

func TestValidVersion(t *testing.T) {
	for v, want := range map[string]bool{
		"0.5.0": true, "1": true, "0.5.0.12.g90a2693": true, "0.5.0~rc1": true, "0.5.0-12": true, "0.5.0.12.g90a2693.dirty": true,
		"": false, "v1": false, "1+2": false, "1_2": false, "1/2": false, "1 2": false, "1A": false, "1é": false, ".1": false,
		"0.5.0.123.g90a2693.dirty": false, // 24 characters
	} {
		if got := slot.ValidVersion(v); got != want {
			t.Errorf("%q: %v", v, got)
		}
	}
}

func TestParseEntry(t *testing.T) {
	for name, want := range map[string]slot.Entry{
		"anymx_0.5.0.efi":        {Version: "0.5.0", Left: slot.Uncounted},
		"anymx_0.5.0+3.efi":      {Version: "0.5.0", Left: 3},
		"anymx_0.5.0+3-0.efi":    {Version: "0.5.0", Left: 3},
		"anymx_0.5.0+2-1.efi":    {Version: "0.5.0", Left: 2, Done: 1},
		"anymx_0.5.0-7+0-3.efi":  {Version: "0.5.0-7", Left: 0, Done: 3},
		"anymx_0.5.0~rc1+10.efi": {Version: "0.5.0~rc1", Left: 10},
	} {
		got, ok := slot.ParseEntry(name)
		want.File = name
		if !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", name, got, ok, want)
		}
	}
	for _, name := range []string{
		"", "anymx_.efi", "anymx_1", "other_1.efi", "anymx_1+.efi", "anymx_1+x.efi", "anymx_1+3-.efi", "anymx_1+3-x.efi",
		"anymx_1+-1.efi", "anymx_1+3+3.efi", "anymx_1+100.efi", "anymx_1+99999999999999999999.efi", ".#sysupdateanymx_1+3-0.efi",
		"anymx_1.efi.bak", "anymx_../../x.efi", "anymx_1+3-0.efi9775ce0fcf8972d",
	} {
		if e, ok := slot.ParseEntry(name); ok {
			t.Errorf("%q was taken for %+v", name, e)
		}
	}
}

func FuzzParseEntry(f *testing.F) {
	for _, name := range []string{"anymx_0.5.0+3.efi", "anymx_1+2-1.efi", "anymx_1.efi", "x"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		e, ok := slot.ParseEntry(name)
		if !ok {
			return
		}
		again, ok := slot.ParseEntry(e.Name())
		again.File = e.File
		if !ok || again != e || strings.Contains(e.Name(), "/") {
			t.Fatalf("%q is %+v, its name %q is %+v", name, e, e.Name(), again)
		}
	})
}

func FuzzCompare(f *testing.F) {
	f.Add("0.5.0", "0.5.0~rc1")
	f.Add("1.-^", "1..")
	f.Fuzz(func(t *testing.T, a, b string) {
		if x, y := slot.Compare(a, b), slot.Compare(b, a); x != -y || slot.Compare(a, a) != 0 {
			t.Fatalf("%q %q: %d and %d", a, b, x, y)
		}
	})
}

func TestLoaderOrder(t *testing.T) {
	want := []string{"anymx_3+1-2.efi", "anymx_2.efi", "anymx_2+3.efi", "anymx_2+2-1.efi", "anymx_1+3.efi", "anymx_4+0-3.efi", "anymx_0+0-1.efi"}
	for range 20 {
		var entries []slot.Entry
		for _, i := range rand.Perm(len(want)) {
			e, _ := slot.ParseEntry(want[i])
			entries = append(entries, e)
		}
		var got []string
		for _, e := range slot.LoaderOrder(entries) {
			got = append(got, e.File)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}

const (
	hash1 = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef"
	hash2 = "ffffffffffffffffffffffffffffffff0000000000000000000000000000000f"
)

func TestPartitionsOf(t *testing.T) {
	root, verity, ok := slot.PartitionsOf(hash1)
	if root != "00112233-4455-6677-8899-aabbccddeeff" || verity != "01234567-89ab-cdef-0123-456789abcdef" || !ok {
		t.Errorf("%s, %s, %v", root, verity, ok)
	}
	for _, bad := range []string{"", hash1[1:], hash1 + "00", strings.ToUpper(hash1), "x" + hash1[1:]} {
		if _, _, ok := slot.PartitionsOf(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestReadMachine(t *testing.T) {
	m := slottest.New(t, "1", hash1)
	table, err := m.Read()
	if err != nil {
		t.Fatal(err)
	}
	running, other := table.Running(), table.Other()
	if table.Version != "1" || table.RootHash != hash1 || len(table.Slots) != 2 || running == nil || other == nil || table.Next() != "1" {
		t.Fatalf("%+v", table)
	}
	if running.State() != "running" || other.State() != "empty" || other.Bootable() || !running.Bootable() || other.Root.Number != 5 || running.Verity.Number != 2 {
		t.Errorf("%+v\n%+v", running, other)
	}

	// A version in the other slot, one in neither slot, and leftovers of a rename after a power
	// cut.
	list := m.Partitions(t)
	list[3].Label, list[4].Label = "anymx_2_verity", "anymx_2"
	if err := slottest.WriteTable(m.Disk, list); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"anymx_2+0-3.efi", "anymx_1+2-1.efi", "anymx_7+3.efi", "else.efi"} {
		m.Entry(t, name, name)
	}
	if table, err = m.Read(); err != nil {
		t.Fatal(err)
	}
	running, other = table.Running(), table.Other()
	if other.Version != "2" || other.State() != "whole" || other.Bootable() || other.Entry.File != "anymx_2+0-3.efi" || table.Next() != "7" {
		t.Errorf("%+v, next %s", other, table.Next())
	}
	if running.Entry.File != "anymx_1+3.efi" || len(running.Spare) != 1 || running.Spare[0].File != "anymx_1+2-1.efi" || len(table.Stray) != 1 {
		t.Errorf("%+v\n%+v", running, table.Stray)
	}

	// With only one of its labels, the slot is incomplete and its content is ignored.
	list[4].Label = "_empty"
	if err := slottest.WriteTable(m.Disk, list); err != nil {
		t.Fatal(err)
	}
	if table, err = m.Read(); err != nil || table.Other().State() != "incomplete" || table.Other().Version != "" {
		t.Errorf("%+v, %v", table.Other(), err)
	}
	// If the other version runs, it is still found and comes first.
	list[4].Label = "anymx_2"
	if err := slottest.WriteTable(m.Disk, list); err != nil {
		t.Fatal(err)
	}
	m.Boot(t, "2", hash2)
	if table, err = m.Read(); err != nil || table.Running().Root.Number != 5 || table.Other().Version != "1" {
		t.Errorf("%+v, %v", table, err)
	}
}

func TestReadNoAppliance(t *testing.T) {
	for name, spoil := range map[string]func(*slottest.Machine) error{
		"no version": func(m *slottest.Machine) error {
			return os.WriteFile(m.Root+"/etc/os-release", []byte("ID=x\n"), 0o600)
		},
		"no root hash":           func(m *slottest.Machine) error { return os.WriteFile(m.Root+"/proc/cmdline", []byte("quiet\n"), 0o600) },
		"no ESP":                 func(m *slottest.Machine) error { m.ESP = ""; return os.RemoveAll(m.Root + "/efi") },
		"no disk":                func(m *slottest.Machine) error { return os.Remove(m.Disk) },
		"nothing below the root": func(m *slottest.Machine) error { m.Disk = ""; return nil },
	} {
		t.Run(name, func(t *testing.T) {
			m := slottest.New(t, "1", hash1)
			if err := spoil(m); err != nil {
				t.Fatal(err)
			}
			if _, err := m.Read(); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v", err)
			}
		})
	}
}

// The disk is found below the device mapper, whatever its name.
func TestReadFindsTheDisk(t *testing.T) {
	for _, name := range []string{"vda", "nvme0n1", "cciss!c0d0"} {
		m := slottest.New(t, "1", hash1)
		var root unix.Stat_t
		if err := unix.Stat(m.Root+"/", &root); err != nil {
			t.Fatal(err)
		}
		dev := fmt.Sprintf("%s/sys/dev/block/%d:%d", m.Root, unix.Major(root.Dev), unix.Minor(root.Dev))
		part := m.Root + "/sys/devices/" + name + "/" + name + "p3"
		disk := m.Root + "/dev/" + strings.ReplaceAll(name, "!", "/")
		err := errors.Join(os.MkdirAll(dev+"/slaves", 0o755), os.MkdirAll(part, 0o755), os.WriteFile(part+"/partition", []byte("3\n"), 0o600),
			os.Symlink(part, dev+"/slaves/"+name+"p3"), os.MkdirAll(filepath.Dir(disk), 0o755), os.Rename(m.Disk, disk))
		if err != nil {
			t.Fatal(err)
		}
		m.Disk = ""
		table, err := m.Read()
		if err != nil || table.Disk != disk || table.Running() == nil {
			t.Errorf("%s: %+v, %v", name, table, err)
		}
	}
}

// If the table is damaged, its backup at the end of the disk is used.
func TestReadTableDamaged(t *testing.T) {
	m := slottest.New(t, "1", hash1)
	whole := m.Partitions(t)
	disk, err := os.ReadFile(m.Disk)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{512, 512 + 40, 1024 + 60} {
		broken := bytes.Clone(disk)
		broken[at] ^= 1
		got, err := slot.ReadTable(bytes.NewReader(broken), int64(len(broken)))
		if err != nil || !reflect.DeepEqual(got, whole) {
			t.Errorf("byte %d: %v", at, err)
		}
		broken[len(broken)-512+20] ^= 1
		if got, err := slot.ReadTable(bytes.NewReader(broken), int64(len(broken))); err == nil {
			t.Errorf("byte %d and the copy: %v", at, got)
		}
	}
	if _, err := slot.ReadTable(bytes.NewReader(nil), 0); !errors.Is(err, slot.ErrNoTable) {
		t.Errorf("nothing: %v", err)
	}
}

func FuzzReadTable(f *testing.F) {
	m := slottest.New(f, "1", hash1)
	disk, err := os.ReadFile(m.Disk)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(disk[:40<<10])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, disk []byte) {
		list, err := slot.ReadTable(bytes.NewReader(disk), int64(len(disk)))
		for _, p := range list {
			if err != nil || p.Start < 0 || p.Size <= 0 || p.Start+p.Size > int64(len(disk)) {
				t.Fatalf("%+v of %d bytes, %v", p, len(disk), err)
			}
		}
	})
}

func TestRename(t *testing.T) {
	m := slottest.New(t, "1", hash1)
	names := func(want ...string) {
		t.Helper()
		if got := m.Names(t); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	entry := func(name string) slot.Entry { e, _ := slot.ParseEntry(name); return e }
	e := entry("anymx_1+3.efi")
	e, err := slot.Rename(m.ESP, e, e.Lowered())
	if err != nil {
		t.Fatal(err)
	}
	names("anymx_1+0-1.efi")
	m.Entry(t, "anymx_1+2-1.efi", "spare")
	m.Entry(t, "anymx_2+2-1.efi", "of another")
	if e, err = slot.Rename(m.ESP, e, e.Armed(), entry("anymx_1+2-1.efi"), entry("anymx_2+2-1.efi")); err != nil || e.File != "anymx_1+3.efi" {
		t.Fatal(e, err)
	}
	names("anymx_1+3.efi", "anymx_2+2-1.efi")
	if text, err := os.ReadFile(filepath.Join(m.ESP, "EFI/Linux/anymx_1+3.efi")); string(text) != "kernel of 1" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	m.Entry(t, "anymx_1+3-0.efi", "as systemd-sysupdate names it")
	if e, err = slot.Rename(m.ESP, entry("anymx_1+3-0.efi"), entry("anymx_1+3.efi")); err != nil || e.File != "anymx_1+3-0.efi" {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := slot.Rename(m.ESP, e, entry("anymx_2+3.efi")); err == nil {
		t.Error("a version became another")
	}
	if _, err := slot.Rename(m.ESP, entry("anymx_9+2-1.efi"), entry("anymx_9+3.efi")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an entry that is not there: %v", err)
	}
	if err := slot.Remove(m.ESP, entry("anymx_2+2-1.efi"), entry("anymx_9+3.efi")); err != nil {
		t.Error(err)
	}
	names("anymx_1+3-0.efi", "anymx_1+3.efi")
}
