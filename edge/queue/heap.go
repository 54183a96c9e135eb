package queue

// order says how a heap is sorted, and where an element keeps its position in it.
type order[T any] interface {
	before(a, b T) bool
	position(e T) *int32 // counted from 1; 0: not in the heap
}

// heap holds elements with the first in front. It has four children to a node, which is flatter than
// two and so touches less memory when there are a million. The zero value is an empty heap.
type heap[T any, O order[T]] struct {
	all []T
	o   O
}

// top returns the first element. It reports false if the heap is empty.
func (h *heap[T, O]) top() (first T, ok bool) {
	if len(h.all) == 0 {
		return first, false
	}
	return h.all[0], true
}

// has reports whether e is in the heap.
func (h *heap[T, O]) has(e T) bool { return *h.o.position(e) != 0 }

// add adds e, which must not be in the heap.
func (h *heap[T, O]) add(e T) {
	h.all = append(h.all, e)
	h.up(len(h.all)-1, e)
}

// remove removes e, if it is in the heap.
func (h *heap[T, O]) remove(e T) {
	at := h.o.position(e)
	if *at == 0 {
		return
	}
	i, last := int(*at)-1, len(h.all)-1
	*at = 0
	moved := h.all[last]
	var none T
	h.all[last] = none
	h.all = h.all[:last]
	if i < last {
		*h.o.position(moved) = int32(i + 1)
		h.all[i] = moved
		h.fix(moved)
	}
	if c := cap(h.all); c > 1024 && last < c/4 {
		h.all = append(make([]T, 0, c/2), h.all...) // give the memory of a backlog back
	}
}

// fix moves e, whose key has changed, to where it belongs.
func (h *heap[T, O]) fix(e T) {
	i := int(*h.o.position(e)) - 1
	if !h.down(i, e) {
		h.up(i, e)
	}
}

// sort puts all elements where they belong, after the keys of many have changed.
func (h *heap[T, O]) sort() {
	for i := len(h.all)/4 + 1; i >= 0; i-- {
		if i < len(h.all) {
			h.down(i, h.all[i])
		}
	}
}

// set writes e to position i.
func (h *heap[T, O]) set(i int, e T) {
	h.all[i] = e
	*h.o.position(e) = int32(i + 1)
}

func (h *heap[T, O]) up(i int, e T) {
	for i > 0 {
		parent := (i - 1) / 4
		if !h.o.before(e, h.all[parent]) {
			break
		}
		h.set(i, h.all[parent])
		i = parent
	}
	h.set(i, e)
}

func (h *heap[T, O]) down(start int, e T) (moved bool) {
	i := start
	for {
		child := 4*i + 1
		if child >= len(h.all) {
			break
		}
		least := child
		for c := child + 1; c < min(child+4, len(h.all)); c++ {
			if h.o.before(h.all[c], h.all[least]) {
				least = c
			}
		}
		if !h.o.before(h.all[least], e) {
			break
		}
		h.set(i, h.all[least])
		i = least
	}
	h.set(i, e)
	return i != start
}
