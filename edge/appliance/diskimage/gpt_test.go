package diskimage

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"anymx/tests/kit"
)

const layout = `label: gpt
label-id: 11111111-2222-3333-4444-555555555555
start=2048, size=20480, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name="esp"
size=4096, type=2C7357ED-EBD2-46D9-AEC1-23D437EC2BF5, uuid=AAAAAAAA-BBBB-CCCC-DDDD-EEEEEEEEEEEE, name="anymx_0.5.0_verity"
size=8192, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name="anymx_0.5.0"
`

// disk creates a disk image with sfdisk.
func disk(t testing.TB, size int64, script string) string {
	t.Helper()
	sfdisk := kit.Tool(t, "sfdisk", "fdisk")
	file := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	run(t, script, sfdisk, "--quiet", file)
	return file
}

func TestReadTable(t *testing.T) {
	const size = 32 << 20
	file := disk(t, size, layout)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		spoil   func([]byte)
		damage  string // "": undamaged
		refused string // "": accepted
	}{
		"whole":              {func([]byte) {}, "", ""},
		"first header":       {func(b []byte) { b[512+100]++; b[512+60]++ }, "first copy of the partition table is damaged: the checksum of its header", ""},
		"first entries":      {func(b []byte) { b[1024+60]++ }, "first copy of the partition table is damaged: the checksum of its partitions", ""},
		"second header":      {func(b []byte) { b[size-512+60]++ }, "second copy of the partition table is damaged: the checksum of its header", ""},
		"second gone":        {func(b []byte) { clear(b[size-512:]) }, "second copy of the partition table is damaged: no GUID", ""},
		"first wiped":        {func(b []byte) { clear(b[:1<<20]) }, "first copy of the partition table is damaged: no GUID", ""},
		"both":               {func(b []byte) { b[512+60]++; b[size-512+60]++ }, "", "both copies are damaged"},
		"nothing":            {func(b []byte) { clear(b) }, "", "no GUID partition table"},
		"an own place wrong": {func(b []byte) { copy(b[512:1024], b[size-512:]) }, "first copy of the partition table is damaged: it says that it is in sector", ""},
	} {
		b := bytes.Clone(good)
		test.spoil(b)
		table, err := ReadTable(bytes.NewReader(b), size)
		if test.refused != "" {
			if err == nil || !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%s: %v, want %q", name, err, test.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if test.damage == "" && table.Damage() != "" || !strings.Contains(table.Damage(), test.damage) {
			t.Errorf("%s: damage %q, want %q", name, table.Damage(), test.damage)
		}
		if table.Size != size || table.Sector != 512 || table.Disk.String() != "11111111-2222-3333-4444-555555555555" || len(table.Partitions) != 3 {
			t.Errorf("%s: %+v", name, table)
			continue
		}
		esp, err := table.ESP()
		if err != nil || esp.Start != 1<<20 || esp.Size != 10<<20 || esp.Label != "esp" || esp.Number != 1 {
			t.Errorf("%s: ESP %+v, %v", name, esp, err)
		}
		if p := table.Partitions[1]; p.Label != "anymx_0.5.0_verity" || p.ID.String() != "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee" || p.Size != 2<<20 {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// If an image was written to a larger disk, its backup table is where the primary says.
func TestReadTableOnLargerDisk(t *testing.T) {
	file := disk(t, 32<<20, layout)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, make([]byte, 32<<20)...)
	table, err := ReadTable(bytes.NewReader(b), int64(len(b)))
	if err != nil || table.Size != 32<<20 || table.Damage() != "" {
		t.Errorf("%+v, %v", table, err)
	}
}

func TestESPOfTable(t *testing.T) {
	two := "label: gpt\nsize=2048, type=uefi\nsize=2048, type=uefi\n"
	none := "label: gpt\nsize=2048, type=linux\n"
	for script, want := range map[string]string{two: "2 EFI system partitions", none: "no EFI system partition"} {
		b, err := os.ReadFile(disk(t, 8<<20, script))
		if err != nil {
			t.Fatal(err)
		}
		table, err := ReadTable(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := table.ESP(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A disk without a GPT, such as one with an MBR table, is distinguished from a damaged one.
func TestNoTable(t *testing.T) {
	for _, script := range []string{"label: dos\nsize=2048, type=c\n"} {
		b, err := os.ReadFile(disk(t, 8<<20, script))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTable(bytes.NewReader(b), int64(len(b))); !errors.Is(err, ErrNoTable) {
			t.Errorf("%v, want ErrNoTable", err)
		}
	}
	if _, err := ReadTable(bytes.NewReader([]byte("short")), 5); !errors.Is(err, ErrNoTable) {
		t.Errorf("%v, want ErrNoTable", err)
	}
}

// FuzzReadTable checks that reading a table always returns, with values within bounds.
func FuzzReadTable(f *testing.F) {
	good, err := os.ReadFile(disk(f, 8<<20, "label: gpt\nsize=2048, type=uefi\nsize=2048, type=linux, name=x\n"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[512:1024], good[1024:1024+512])
	f.Fuzz(func(t *testing.T, head, entries []byte) {
		image := make([]byte, 64<<10)
		copy(image[512:1024], head)
		copy(image[1024:], entries)
		for _, fix := range []bool{false, true} {
			if fix {
				sign(image)
			}
			table, err := ReadTable(bytes.NewReader(image), int64(len(image)))
			if err != nil {
				continue
			}
			for _, p := range table.Partitions {
				if p.Start < 0 || p.Size <= 0 || p.Start+p.Size < 0 {
					t.Errorf("%+v", p)
				}
				if fat, err := Open(&journal{data: image}, int64(len(image)), p); err == nil {
					t.Errorf("a file system: %+v", fat)
				}
			}
		}
	})
}
