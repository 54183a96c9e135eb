package queue

import (
	"slices"
	"sort"

	"anymx/edge/mail"
)

// index holds all entries ordered by legID, which is the order of arrival: a page of a list starts
// anywhere at no cost, and stays stable while messages come and go. It is a list of sorted leaves;
// new entries go to the end of the last one, or near it.
type index struct {
	leaves [][]*entry // none is empty
	n      int
}

// leafSize bounds a leaf: a removal moves some hundred pointers at most.
const leafSize = 512

// seek returns where id is, or would be.
func (x *index) seek(id legID) (leaf, at int, found bool) {
	if len(x.leaves) == 0 {
		return 0, 0, false
	}
	// The last leaf that does not start after id.
	leaf = sort.Search(len(x.leaves), func(i int) bool { return id.compare(x.leaves[i][0].legID) < 0 }) - 1
	leaf = max(leaf, 0)
	at, found = slices.BinarySearchFunc(x.leaves[leaf], id, func(e *entry, id legID) int { return e.compare(id) })
	return leaf, at, found
}

// find returns the entry of id, or nil.
func (x *index) find(id legID) *entry {
	leaf, at, found := x.seek(id)
	if !found {
		return nil
	}
	return x.leaves[leaf][at]
}

// message appends to buf the entries of all legs of a message.
func (x *index) message(id mail.ID, buf []*entry) []*entry {
	for leaf, at, _ := x.seek(legID{message: id}); leaf < len(x.leaves); leaf, at = leaf+1, 0 {
		for _, e := range x.leaves[leaf][at:] {
			if e.message != id {
				return buf
			}
			buf = append(buf, e)
		}
	}
	return buf
}

// alone reports whether e is the only entry of its message.
func (x *index) alone(e *entry) bool {
	if e.flags&several == 0 {
		return true
	}
	var buf [2]*entry
	return len(x.message(e.message, buf[:0])) < 2
}

// add adds e. It reports false if there is an entry with its legID.
func (x *index) add(e *entry) bool {
	leaf, at, found := x.seek(e.legID)
	if found {
		return false
	}
	x.n++
	switch {
	case len(x.leaves) == 0:
		x.leaves = append(x.leaves, append(make([]*entry, 0, leafSize), e))
		return true
	case len(x.leaves[leaf]) < leafSize:
		x.leaves[leaf] = slices.Insert(x.leaves[leaf], at, e)
		return true
	}
	full := x.leaves[leaf]
	cut := leafSize / 2
	if at == leafSize && leaf == len(x.leaves)-1 {
		cut = leafSize // at the very end: leave the full leaf as it is
	}
	rest := append(make([]*entry, 0, leafSize), full[cut:]...)
	clear(full[cut:])
	x.leaves[leaf] = full[:cut]
	if at >= cut {
		rest = slices.Insert(rest, at-cut, e)
	} else {
		x.leaves[leaf] = slices.Insert(x.leaves[leaf], at, e)
	}
	x.leaves = slices.Insert(x.leaves, leaf+1, rest)
	return true
}

// remove removes e, if it is in the index.
func (x *index) remove(e *entry) {
	leaf, at, found := x.seek(e.legID)
	if !found {
		return
	}
	x.n--
	rest := slices.Delete(x.leaves[leaf], at, at+1)
	x.leaves[leaf] = rest
	switch {
	case len(rest) == 0:
		x.leaves = slices.Delete(x.leaves, leaf, leaf+1)
	case len(rest) < leafSize/4:
		x.merge(leaf)
		x.merge(leaf - 1)
	}
}

// merge makes one of a leaf and the next, if they are small.
func (x *index) merge(leaf int) {
	if leaf < 0 || leaf+1 >= len(x.leaves) || len(x.leaves[leaf])+len(x.leaves[leaf+1]) > leafSize/2 {
		return
	}
	x.leaves[leaf] = append(x.leaves[leaf], x.leaves[leaf+1]...)
	x.leaves = slices.Delete(x.leaves, leaf+1, leaf+2)
}

// first returns the oldest entry, or nil.
func (x *index) first() *entry {
	if len(x.leaves) == 0 {
		return nil
	}
	return x.leaves[0][0]
}

// after appends to buf up to n entries that come after id; the zero legID is before all legs of messages.
func (x *index) after(id legID, n int, buf []*entry) []*entry {
	leaf, at, found := x.seek(id)
	if found {
		at++
	}
	for ; leaf < len(x.leaves) && n > 0; leaf, at = leaf+1, 0 {
		part := x.leaves[leaf][at:]
		part = part[:min(n, len(part))]
		buf = append(buf, part...)
		n -= len(part)
	}
	return buf
}
