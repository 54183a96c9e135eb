package wire

import "sync"

// Buffers are lent for as long as bytes stand in them. The sizes follow the
// work: a batch of commands and a usual message fit the middle one; a message
// that keeps filling that gets the large one.
const (
	smallBuffer  = 512
	middleBuffer = 16 << 10
	largeBuffer  = 256 << 10
)

var pools = [...]sync.Pool{
	{New: func() any { b := make([]byte, smallBuffer); return &b }},
	{New: func() any { b := make([]byte, middleBuffer); return &b }},
	{New: func() any { b := make([]byte, largeBuffer); return &b }},
}

func poolFor(size int) *sync.Pool {
	switch size {
	case smallBuffer:
		return &pools[0]
	case middleBuffer:
		return &pools[1]
	case largeBuffer:
		return &pools[2]
	}
	return nil
}

// input is what was read and not yet used: buf[r:w]. The zero input holds no
// buffer.
type input struct {
	lent *[]byte
	r, w int
}

func (in *input) unread() []byte {
	if in.lent == nil {
		return nil
	}
	return (*in.lent)[in.r:in.w]
}

// room is where the next read goes; never empty after grow.
func (in *input) room() []byte { return (*in.lent)[in.w:] }

func (in *input) use(n int) { in.r += n }

// grow makes room behind the unread bytes: it moves them to the front, or to a
// buffer of at least size.
func (in *input) grow(size int) {
	if in.lent == nil {
		in.lent = poolFor(size).Get().(*[]byte)
		in.r, in.w = 0, 0
		return
	}
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if len(*in.lent) < size || in.w-in.r == len(*in.lent) {
		for size < largeBuffer && size <= in.w-in.r {
			size = nextSize(size)
		}
		bigger := poolFor(size).Get().(*[]byte)
		n := copy(*bigger, in.unread())
		in.put()
		in.lent, in.r, in.w = bigger, 0, n
		return
	}
	if in.w == len(*in.lent) {
		n := copy(*in.lent, in.unread())
		in.r, in.w = 0, n
	}
}

// nextSize is the lent size above size.
func nextSize(size int) int {
	if size < middleBuffer {
		return middleBuffer
	}
	return largeBuffer
}

// release gives the buffer back if nothing stands in it.
func (in *input) release() {
	if in.r == in.w {
		in.put()
	}
}

func (in *input) put() {
	if in.lent != nil {
		poolFor(len(*in.lent)).Put(in.lent)
	}
	*in = input{}
}
