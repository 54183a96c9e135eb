package lossy

import (
	"fmt"
	"math/rand/v2"
)

// Cut is the result of a power cut.
type Cut struct {
	Seed uint64
	// Writes is how many writes were in the cache: Kept reached the platter completely, Torn in
	// part, Lost not at all.
	Writes, Kept, Torn, Lost int
}

func (c Cut) String() string {
	return fmt.Sprintf("power cut %d: of %d unflushed writes %d kept, %d torn, %d lost", c.Seed, c.Writes, c.Kept, c.Torn, c.Lost)
}

// Units that a drive writes completely or not at all.
const (
	sector = 512
	page   = 4096
)

// PowerCut simulates a power cut of the drive. Writes that were flushed, or written through,
// survive. Any other write is kept, lost, or torn into sectors or pages of which some are kept. As
// in a real drive, their order is undefined, except that at the same place an older write never
// overwrites a newer one. The same seed and the same writes give the same disk.
//
// No machine may be using the disk: see Server.Disconnect.
func (d *Disk) PowerCut(seed uint64) (Cut, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cut := Cut{Seed: seed}
	made := make([][]byte, len(d.cache)) // what each write wrote; nil: zeros
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

// undo reverts a write and returns what it wrote. Later writes must have been reverted before.
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

// redo repeats those sectors of a write that are kept.
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

// put writes b, or a hole if b is nil.
func (d *Disk) put(b []byte, at, length int64) error {
	if b == nil {
		return punch(d.file, at, length)
	}
	_, err := d.file.WriteAt(b, at)
	return err
}
