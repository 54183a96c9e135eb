package queue

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// disk is a file system whose power goes at one of the next writes.
type disk struct {
	s       *simulation
	mem     *vfs.MemFS
	life    int
	percent int           // of what was not synced that survives
	at      time.Duration // since the beginning; the first write after it, or one of the next, is cut
	left    int           // writes after at
	after   *vfs.MemFS
	world   *outside
}

func (d *disk) inject(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	if d.after != nil {
		return nil
	}
	if time.Since(d.s.began) < d.at {
		return nil
	}
	if d.left--; d.left < 0 {
		d.cut()
	}
	return nil
}

// cut is the loss of power. What is under way may have been done, and what was done in the last moments may
// not have been recorded: neither can be told later. s.mu is held.
func (d *disk) cut() {
	d.after = d.tear()
	d.world = d.s.world.clone()
	d.s.tell("the power goes")
	for to := range d.s.world.got {
		d.world.excused[to]++
	}
}

// tear returns what the disk has after the loss of power: what was synced, and of the rest some blocks and
// names. Which ones depends on the seed alone; CrashClone would draw them in the order of a map.
func (d *disk) tear() *vfs.MemFS {
	synced := d.mem.CrashClone(vfs.CrashCloneCfg{})
	all := d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	torn := vfs.NewCrashableMem()
	if err := d.tearFolder(torn, synced, all, "/"); err != nil {
		d.s.t.Error(err)
	}
	return torn.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
}

func (d *disk) tearFolder(torn, synced, all *vfs.MemFS, folder string) error {
	names, err := all.List(folder)
	slices.Sort(names)
	for _, name := range names {
		path := all.PathJoin(folder, name)
		info, err := synced.Stat(path)
		if err != nil && !d.survives(path, -1) {
			continue
		}
		if err != nil {
			if info, err = all.Stat(path); err != nil {
				return err
			}
		}
		if info.IsDir() {
			err = errors.Join(torn.MkdirAll(path, 0o700), d.tearFolder(torn, synced, all, path))
		} else {
			err = d.tearFile(torn, synced, all, path)
		}
		if err != nil {
			return err
		}
	}
	return err
}

func (d *disk) tearFile(torn, synced, all *vfs.MemFS, path string) error {
	const block = 4096
	data, _ := synced.UnsafeGetFileDataBuffer(path) // none, if the file is new
	data = slices.Clone(data)
	now, err := all.UnsafeGetFileDataBuffer(path)
	if err != nil {
		return err
	}
	for at := 0; at < len(now); at += block {
		end := min(at+block, len(now))
		if !d.survives(path, at) {
			continue
		}
		if end > len(data) {
			data = append(data, make([]byte, end-len(data))...)
		}
		copy(data[at:end], now[at:end])
	}
	f, err := torn.Create(path, "")
	if err == nil {
		_, err = f.Write(data)
		err = errors.Join(err, f.Close())
	}
	return err
}

// survives reports whether what was not synced at this place is there after the loss of power.
func (d *disk) survives(path string, at int) bool {
	return d.s.draw(100, "survives", d.life, path, at) < d.percent
}
