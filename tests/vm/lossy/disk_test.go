package lossy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// blank returns a disk over an image of 1 MiB: sevens in its first half, then a hole.
func blank(t *testing.T, o Options) *Disk {
	t.Helper()
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	err := os.WriteFile(image, bytes.Repeat([]byte{7}, 1<<19), 0o600)
	if err == nil {
		err = os.Truncate(image, 1<<20)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := New(image, filepath.Join(dir, "disk"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func put(t *testing.T, d *Disk, at, length int64, value byte) {
	t.Helper()
	if _, err := d.WriteAt(bytes.Repeat([]byte{value}, int(length)), at); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, d *Disk, at, length int64) []byte {
	t.Helper()
	b := make([]byte, length)
	if _, err := d.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	return b
}

func cut(t *testing.T, d *Disk, seed uint64) Cut {
	t.Helper()
	c, err := d.PowerCut(seed)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWhatWasFlushedSurvives(t *testing.T) {
	d := blank(t, Options{})
	for seed := range uint64(100) {
		value := byte(seed%200 + 10)
		put(t, d, 4096, 8192, value)
		d.Flush()
		if c := cut(t, d, seed); c.Writes != 0 {
			t.Fatalf("%v after a flush", c)
		}
		if got := get(t, d, 4096, 8192); !bytes.Equal(got, bytes.Repeat([]byte{value}, 8192)) {
			t.Fatalf("cut %d: a flushed write is gone", seed)
		}
	}
}

func TestWhatWasWrittenThroughSurvives(t *testing.T) {
	for seed := range uint64(100) {
		d := blank(t, Options{})
		put(t, d, 0, 4096, 1) // in the cache, below the next write
		if _, err := d.WriteThrough(bytes.Repeat([]byte{2}, 2048), 1024); err != nil {
			t.Fatal(err)
		}
		if c := cut(t, d, seed); c.Writes != 1 {
			t.Fatalf("%v, want one write", c)
		}
		if got := get(t, d, 1024, 2048); !bytes.Equal(got, bytes.Repeat([]byte{2}, 2048)) {
			t.Fatalf("cut %d: a write through the cache is gone: %v", seed, got[:8])
		}
	}
}

// An unflushed write may leave everything, nothing, or some whole sectors.
func TestWhatWasNotFlushedIsAtTheDrivesMercy(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(200) {
		d := blank(t, Options{})
		put(t, d, 8192, 16384, 9)
		c := cut(t, d, seed)
		got := get(t, d, 8192, 16384)
		kept := 0
		for at := 0; at < len(got); at += sector {
			switch s := got[at : at+sector]; {
			case bytes.Equal(s, bytes.Repeat([]byte{9}, sector)):
				kept++
			case !bytes.Equal(s, bytes.Repeat([]byte{7}, sector)):
				t.Fatalf("cut %d: a sector is torn", seed)
			}
		}
		switch {
		case c.Kept == 1 && kept == 32:
			seen["kept"]++
		case c.Lost == 1 && kept == 0:
			seen["lost"]++
		case c.Torn == 1:
			seen["torn"]++
		default:
			t.Fatalf("%v, but %d of 32 sectors are there", c, kept)
		}
		if before, after := get(t, d, 4096, 4096), get(t, d, 8192+16384, 4096); !bytes.Equal(before, after) || before[0] != 7 {
			t.Fatalf("cut %d: the neighbourhood has changed", seed)
		}
	}
	for _, fate := range []string{"kept", "lost", "torn"} {
		if seen[fate] < 10 {
			t.Errorf("of 200 writes %d were %s: %v", seen[fate], fate, seen)
		}
	}
}

// A later write may survive an earlier one elsewhere, but is never overwritten by an earlier one at
// the same place.
func TestOrder(t *testing.T) {
	var reordered, older, newer, none int
	for seed := range uint64(300) {
		d := blank(t, Options{})
		put(t, d, 0, sector, 1)
		put(t, d, 4096, sector, 2)
		put(t, d, 4096, sector, 3)
		cut(t, d, seed)
		first, second := get(t, d, 0, 1)[0], get(t, d, 4096, 1)[0]
		if first == 7 && second != 7 {
			reordered++
		}
		switch second {
		case 2:
			older++
		case 3:
			newer++
		case 7:
			none++
		default:
			t.Fatalf("cut %d: there is %d, which was never written", seed, second)
		}
	}
	if reordered == 0 || older == 0 || newer == 0 || none == 0 {
		t.Errorf("of 300 cuts %d reordered; the older write stood %d times, the newer %d, none %d times", reordered, older, newer, none)
	}
}

func TestTheSameSeedTearsTheSameWay(t *testing.T) {
	once := func() []byte {
		d := blank(t, Options{})
		for i := range int64(50) {
			put(t, d, i*3000, 5000, byte(i+10))
		}
		cut(t, d, 42)
		return get(t, d, 0, 1<<20)
	}
	if !bytes.Equal(once(), once()) {
		t.Error("two cuts with one seed differ")
	}
}

func TestZeros(t *testing.T) {
	for seed := range uint64(50) {
		d := blank(t, Options{})
		put(t, d, 1<<19, 4096, 5) // into the hole
		d.Flush()
		if err := d.Zero(1<<19-4096, 3*4096, false); err != nil {
			t.Fatal(err)
		}
		if got := get(t, d, 1<<19-4096, 3*4096); !bytes.Equal(got, make([]byte, len(got))) {
			t.Fatal("zeros are not zeros")
		}
		c := cut(t, d, seed)
		sevens, fives, hole := get(t, d, 1<<19-4096, 4096), get(t, d, 1<<19, 4096), get(t, d, 1<<19+4096, 4096)
		back := bytes.Equal(sevens, bytes.Repeat([]byte{7}, 4096)) && bytes.Equal(fives, bytes.Repeat([]byte{5}, 4096))
		if c.Lost == 1 != back && c.Torn == 0 || !bytes.Equal(hole, make([]byte, 4096)) {
			t.Fatalf("%v, and what was before is back: %v", c, back)
		}
	}
}

// Writes beyond the size of the cache have reached the platter.
func TestTheCacheHasAnEnd(t *testing.T) {
	d := blank(t, Options{Cache: 64 << 10})
	for i := range int64(64) {
		put(t, d, i*4096, 4096, byte(i+10))
	}
	if c := d.Counts(); c.Unflushed != 16 || c.Bytes != 64<<10 || c.Writes != 64 {
		t.Fatalf("%+v", c)
	}
	if c := cut(t, d, 1); c.Writes != 16 {
		t.Fatal(c)
	}
	for i := range int64(48) {
		if got := get(t, d, i*4096, 1)[0]; got != byte(i+10) {
			t.Fatalf("write %d, which had left the cache, is gone", i)
		}
	}
}

func TestEnds(t *testing.T) {
	d := blank(t, Options{Size: 4 << 20})
	if d.Size() != 4<<20 || get(t, d, 4<<20-1, 1)[0] != 0 {
		t.Error("the disk has not grown")
	}
	for _, at := range []int64{-1, 4<<20 - 511, 1 << 62} {
		if _, err := d.WriteAt(make([]byte, 512), at); err == nil {
			t.Errorf("a write at %d succeeds", at)
		}
		if err := d.Zero(at, 512, false); err == nil {
			t.Errorf("zeros at %d succeed", at)
		}
	}
	if _, err := New(d.file.Name(), filepath.Join(t.TempDir(), "small"), Options{Size: 1 << 20}); err == nil {
		t.Error("a disk is smaller than its image")
	}
	other := filepath.Join(t.TempDir(), "copy")
	put(t, d, 100, 10, 3)
	if err := d.CopyTo(other); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(other)
	if err != nil || len(text) != 4<<20 || !bytes.Equal(text[100:110], bytes.Repeat([]byte{3}, 10)) || text[110] != 7 {
		t.Errorf("the copy is not like the disk: %d bytes, %v", len(text), err)
	}
}

func BenchmarkWrite(b *testing.B) {
	image := filepath.Join(b.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	for _, size := range []int{4 << 10, 256 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d, err := New(image, filepath.Join(b.TempDir(), "disk"), Options{Size: 256 << 20})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			data := bytes.Repeat([]byte{1}, size)
			b.SetBytes(int64(size))
			for at := int64(0); b.Loop(); at = (at + int64(size)) % (256 << 20) {
				if _, err := d.WriteAt(data, at); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
