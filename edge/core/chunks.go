package core

import (
	"errors"
	"io"
	"runtime"
	"sync"
	"time"
)

// Chunks waits for the end of a message that go-smtp v0.26 takes by BDAT, in a goroutine of its own.
//
// When a message is aborted, its goroutine and the next message use the same field of the connection, one to
// send its result and the other to set where its own goes. The result of one message could become the reply
// to another. A Reset that calls Wait prevents that. The zero value has no message.
type Chunks struct {
	mu   sync.Mutex
	pipe *io.PipeReader
}

// Watch notes r, the reader of Data or LMTPData. It ignores that of a message by DATA.
func (c *Chunks) Watch(r io.Reader) {
	pipe, _ := r.(*io.PipeReader)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pipe = pipe
}

// chunksPatience is for the session to notice that its message was aborted, and remove its file.
const chunksPatience = 30 * time.Second

// Wait returns when the result of the message is delivered. go-smtp must have closed its end of the
// pipe; then it closes the reader's end after it has passed on the result.
func (c *Chunks) Wait() {
	c.mu.Lock()
	pipe := c.pipe
	c.pipe = nil
	c.mu.Unlock()
	if pipe == nil {
		return
	}
	for began, n := time.Now(), 0; time.Since(began) < chunksPatience; n++ {
		if _, err := pipe.Read(nil); errors.Is(err, io.ErrClosedPipe) {
			return
		}
		if runtime.Gosched(); n > 100 {
			time.Sleep(time.Millisecond)
		}
	}
}
