package spool

import "sync"

// bufferSizes are the sizes of the buffers for bodies. Each size has a pool, so that a steady
// stream of messages doesn't allocate and a small message doesn't hold a big buffer.
var bufferSizes = [...]int{1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, MaxInline}

var bufferPools [len(bufferSizes)]sync.Pool

// buffer is memory from a pool.
type buffer struct {
	b     []byte // cap is one of bufferSizes
	class int
}

// newBuffer returns an empty buffer with room for size bytes, at most MaxInline.
func newBuffer(size int) *buffer {
	class := 0
	for class < len(bufferSizes)-1 && bufferSizes[class] < size {
		class++
	}
	if b, ok := bufferPools[class].Get().(*buffer); ok {
		b.b = b.b[:0]
		return b
	}
	return &buffer{b: make([]byte, 0, bufferSizes[class]), class: class}
}

// free returns the memory to its pool. There must be no slice of it left. A buffer that has
// outgrown its size by append is left to the garbage collector.
func (b *buffer) free() {
	if cap(b.b) == bufferSizes[b.class] {
		bufferPools[b.class].Put(b)
	}
}

// grown returns a buffer with the content of b and room for size more bytes: b itself, or a larger
// one. In the latter case b is freed.
func (b *buffer) grown(size int) *buffer {
	if len(b.b)+size <= cap(b.b) {
		return b
	}
	g := newBuffer(len(b.b) + size)
	g.b = append(g.b, b.b...)
	b.free()
	return g
}
