package lossy

import (
	"fmt"
	"math/rand/v2"
)

// Cut is what a power cut did.
type Cut struct {
	Seed uint64
	// Writes were in the cache. Kept are those that had reached the platter whole,
	// Torn those of which a part had, Lost the rest.
	Writes, Kept, Torn, Lost int
}

func (c Cut) String() string {
	return fmt.Sprintf("power cut %d: of %d unflushed writes %d kept, %d torn, %d lost", c.Seed, c.Writes, c.Kept, c.Torn, c.Lost)
}

// Sizes of what a drive writes as a whole, or not at all.
const (
	sector = 512
	page   = 4096
)

// PowerCut takes the power away from the drive. Writes that were flushed, or written
// through, stay. Each other one is kept, lost, or torn into sectors or pages of
// which some are kept; the drive has no order among them but one: where two were
// at the same place, the older one never comes out above the newer one. The same
// seed and the same writes give the same disk.
//
// No machine may be using the disk: see Server.Disconnect.
func (d *Disk) PowerCut(seed uint64) (Cut, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cut := Cut{Seed: seed}
	made := make([][]byte, len(d.cache)) // what each had written; nil: zeros
	for i := len(d.cache) - 1; i >= 0; i-- {
		var err error
		if made[i], err = d.undo(d.cache[i]); err != nil {
			return cut, fmt.Errorf("power cut: %w", err)
		}
	}
	dice := rand.New(rand.NewPCG(seed, 0))
	for i, w := range d.cache {
		keep := func(int64) bool { return true }
		fate := dice.IntN(5)
		switch {
		case w.sure:
		case fate < 2:
			cut.Kept++
		case fate < 4:
			cut.Lost++
			continue
		default:
			cut.Torn++
			granule := []int64{sector, page}[dice.IntN(2)]
			fates := dice.Uint64()
			keep = func(at int64) bool { return fates>>(at/granule%64)&1 == 1 }
		}
		if err := d.redo(w, made[i], keep); err != nil {
			return cut, fmt.Errorf("power cut: %w", err)
		}
	}
	cut.Writes = cut.Kept + cut.Lost + cut.Torn
	d.cache, d.cached = nil, 0
	return cut, nil
}

// undo takes a write back, and returns what it had written. Those after it have
// been taken back.
func (d *Disk) undo(w write) ([]byte, error) {
	from, _, err := data(d.file, w.at, w.at+w.length)
	if err != nil {
		return nil, err
	}
	var made []byte
	if from < w.at+w.length {
		made = make([]byte, w.length)
		if _, err := d.file.ReadAt(made, w.at); err != nil {
			return nil, err
		}
	}
	return made, d.put(w.old, w.at, w.length)
}

// redo makes a write again, those sectors of it that are kept.
func (d *Disk) redo(w write, made []byte, keep func(at int64) bool) error {
	for at := w.at; at < w.at+w.length; {
		next := min(w.at+w.length, (at/sector+1)*sector)
		for next < w.at+w.length && keep(next) == keep(at) {
			next = min(w.at+w.length, next+sector)
		}
		if keep(at) {
			var b []byte
			if made != nil {
				b = made[at-w.at : next-w.at]
			}
			if err := d.put(b, at, next-at); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

// put writes octets, or a hole if there are none.
func (d *Disk) put(b []byte, at, length int64) error {
	if b == nil {
		return punch(d.file, at, length)
	}
	_, err := d.file.WriteAt(b, at)
	return err
}
