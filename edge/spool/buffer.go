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

// bufferClass returns the index of the smallest size with room for size bytes, at most MaxInline.
func bufferClass(size int) int {
	class := 0
	for class < len(bufferSizes)-1 && bufferSizes[class] < size {
		class++
	}
	return class
}

// bufferSize returns how much memory newBuffer takes.
func bufferSize(size int) int64 { return int64(bufferSizes[bufferClass(size)]) }

// newBuffer returns an empty buffer with room for size bytes, at most MaxInline.
func newBuffer(size int) *buffer {
	class := bufferClass(size)
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
