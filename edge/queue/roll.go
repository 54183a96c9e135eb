package queue

import (
	"bytes"
	"slices"
	"sort"

	"anymx/edge/mail"
)

// entry is what is kept of each message that the queue knows, and all that is
// kept of one that waits. With its places in roll and agenda it takes less
// than 128 octets, and holds no pointer for the collector to follow.
type entry struct {
	id       mail.ID
	place    place
	owed     bool   // a Drain waits for its next try
	index    int32  // in the agenda
	attempts uint16 // tries begun; 0: not even the first. Touched only by who has taken the entry
	due      int64  // by the queue's clock
	arrived  int64  // by the queue's clock
	size     int64
}

// place is where an entry is, and who may touch its message.
type place uint8

const (
	gone    place = iota // nowhere: the message is no more
	ready                // in the ring, with its body
	waiting              // in the agenda
	trying               // with a worker
	held                 // in the roll alone, until it is released
	changed              // with an operator's request
	places               // how many there are
)

// roll holds all entries in the order of their IDs, which is that of arrival:
// pages of a list start anywhere at no cost, and stay stable while messages
// come and go. It is a list of sorted leaves; new entries go to the end of the
// last one, or near it.
type roll struct {
	leaves [][]*entry // none is empty
	n      int
}

// leafSize bounds a leaf: a removal moves some hundred pointers at most.
const leafSize = 512

// seek is where id is, or would be.
func (r *roll) seek(id mail.ID) (leaf, at int, found bool) {
	if len(r.leaves) == 0 {
		return 0, 0, false
	}
	// The last leaf that does not start behind id.
	leaf = sort.Search(len(r.leaves), func(i int) bool { return less(id, r.leaves[i][0].id) }) - 1
	leaf = max(leaf, 0)
	at, found = slices.BinarySearchFunc(r.leaves[leaf], id, func(e *entry, id mail.ID) int {
		return bytes.Compare(e.id[:], id[:])
	})
	return leaf, at, found
}

func less(a, b mail.ID) bool { return bytes.Compare(a[:], b[:]) < 0 }

// find is the entry of id, or nil.
func (r *roll) find(id mail.ID) *entry {
	leaf, at, found := r.seek(id)
	if !found {
		return nil
	}
	return r.leaves[leaf][at]
}

// add enters e, unless its ID is there.
func (r *roll) add(e *entry) bool {
	leaf, at, found := r.seek(e.id)
	if found {
		return false
	}
	r.n++
	switch {
	case len(r.leaves) == 0:
		r.leaves = append(r.leaves, append(make([]*entry, 0, leafSize), e))
		return true
	case len(r.leaves[leaf]) < leafSize:
		r.leaves[leaf] = slices.Insert(r.leaves[leaf], at, e)
		return true
	}
	full := r.leaves[leaf]
	cut := leafSize / 2
	if at == leafSize && leaf == len(r.leaves)-1 {
		cut = leafSize // at the very end: leave the full leaf as it is
	}
	rest := append(make([]*entry, 0, leafSize), full[cut:]...)
	clear(full[cut:])
	r.leaves[leaf] = full[:cut]
	if at >= cut {
		rest = slices.Insert(rest, at-cut, e)
	} else {
		r.leaves[leaf] = slices.Insert(r.leaves[leaf], at, e)
	}
	r.leaves = slices.Insert(r.leaves, leaf+1, rest)
	return true
}

// remove takes e out.
func (r *roll) remove(e *entry) {
	leaf, at, found := r.seek(e.id)
	if !found {
		return
	}
	r.n--
	rest := slices.Delete(r.leaves[leaf], at, at+1)
	r.leaves[leaf] = rest
	switch {
	case len(rest) == 0:
		r.leaves = slices.Delete(r.leaves, leaf, leaf+1)
	case len(rest) < leafSize/4:
		r.merge(leaf)
		r.merge(leaf - 1)
	}
}

// merge makes one of a leaf and the next, if they are small.
func (r *roll) merge(leaf int) {
	if leaf < 0 || leaf+1 >= len(r.leaves) || len(r.leaves[leaf])+len(r.leaves[leaf+1]) > leafSize/2 {
		return
	}
	r.leaves[leaf] = append(r.leaves[leaf], r.leaves[leaf+1]...)
	r.leaves = slices.Delete(r.leaves, leaf+1, leaf+2)
}

// first is the oldest entry, or nil.
func (r *roll) first() *entry {
	if len(r.leaves) == 0 {
		return nil
	}
	return r.leaves[0][0]
}

// after appends to buf up to n entries that come behind id; the zero ID is
// before all.
func (r *roll) after(id mail.ID, n int, buf []*entry) []*entry {
	leaf, at, found := r.seek(id)
	if found {
		at++
	}
	for ; leaf < len(r.leaves) && n > 0; leaf, at = leaf+1, 0 {
		part := r.leaves[leaf][at:]
		part = part[:min(n, len(part))]
		buf = append(buf, part...)
		n -= len(part)
	}
	return buf
}
