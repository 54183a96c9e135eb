package queue

// agenda holds the waiting entries, the one that is due first in front: a heap
// with four children to a node, which is flatter than two and so touches less
// memory when there are a million.
type agenda []*entry

// before says whether a comes before b: by due time, then by arrival.
func (a *entry) before(b *entry) bool {
	if a.due != b.due {
		return a.due < b.due
	}
	return less(a.id, b.id)
}

// top is the entry that is due first, or nil.
func (a agenda) top() *entry {
	if len(a) == 0 {
		return nil
	}
	return a[0]
}

// add puts e in.
func (a *agenda) add(e *entry) {
	e.index = int32(len(*a))
	*a = append(*a, e)
	a.up(len(*a) - 1)
}

// remove takes e out.
func (a *agenda) remove(e *entry) {
	i, last := int(e.index), len(*a)-1
	moved := (*a)[last]
	(*a)[last] = nil
	*a = (*a)[:last]
	if i < last {
		(*a)[i], moved.index = moved, int32(i)
		a.fix(moved)
	}
	if c := cap(*a); c > 1024 && last < c/4 {
		*a = append(make(agenda, 0, c/2), *a...) // a backlog that is gone gives its memory back
	}
}

// fix puts e, whose due time has changed, in its place.
func (a agenda) fix(e *entry) {
	i := int(e.index)
	if !a.down(i) {
		a.up(i)
	}
}

func (a agenda) up(i int) {
	e := a[i]
	for i > 0 {
		parent := (i - 1) / 4
		if !e.before(a[parent]) {
			break
		}
		a[i] = a[parent]
		a[i].index = int32(i)
		i = parent
	}
	a[i], e.index = e, int32(i)
}

func (a agenda) down(start int) (moved bool) {
	i, e := start, a[start]
	for {
		child := 4*i + 1
		if child >= len(a) {
			break
		}
		least := child
		for c := child + 1; c < min(child+4, len(a)); c++ {
			if a[c].before(a[least]) {
				least = c
			}
		}
		if !a[least].before(e) {
			break
		}
		a[i] = a[least]
		a[i].index = int32(i)
		i = least
	}
	a[i], e.index = e, int32(i)
	return i != start
}
