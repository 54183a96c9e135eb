package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Why reading a key ended.
var (
	errIdle   = errors.New("no key came for too long")
	errPoked  = errors.New("new facts to show")
	errHungUp = errors.New("the terminal was closed")
)

// maxAhead bounds unread input, in bytes. Keys beyond it are dropped.
const maxAhead = 4096

// keys are the keys typed on a terminal, read by one goroutine from openKeys until Close.
type keys struct {
	tty    *os.File
	wakeR  *os.File // readable: the goroutine should end
	wakeW  *os.File
	done   chan struct{} // closed when it has ended
	sieve  sieve         // the goroutine's own
	change chan struct{} // one slot: there is a key, or the end

	mu        sync.Mutex
	ahead     []byte    // typed, but not read yet
	ended     error     // why no more will come
	last      time.Time // when a key came, or the terminal was opened
	interrupt func()    // what Ctrl-C does instead of being a key; nil: it is a key
}

// openKeys starts to read tty, which must be in raw mode.
func openKeys(tty *os.File) (*keys, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	k := &keys{tty: tty, wakeR: r, wakeW: w, done: make(chan struct{}), change: make(chan struct{}, 1), last: time.Now()}
	go k.run()
	return k, nil
}

// Close ends reading. The terminal stays open.
func (k *keys) Close() {
	k.wakeW.Close()
	<-k.done
	k.wakeR.Close()
}

// run reads until Close, or until the terminal is closed. It waits in poll(2), which, unlike
// read(2), can be interrupted.
func (k *keys) run() {
	defer close(k.done)
	buf := make([]byte, 256)
	fds := []unix.PollFd{{Fd: int32(k.tty.Fd()), Events: unix.POLLIN}, {Fd: int32(k.wakeR.Fd()), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			k.end(fmt.Errorf("console: poll: %w", err))
			return
		case fds[1].Revents != 0:
			k.end(context.Canceled)
			return
		}
		n, err := unix.Read(int(k.tty.Fd()), buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case err != nil || n == 0: // EIO: the line has hung up
			k.end(errHungUp)
			return
		}
		for _, c := range buf[:n] {
			if key := k.sieve.pass(c); key != "" {
				k.add(key)
			}
		}
	}
}

func (k *keys) end(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = err
	if k.interrupt != nil {
		k.interrupt() // nobody is there to wait for the command
	}
	k.notify()
}

// add adds a key. Ctrl-C acts at once, whatever was typed before it.
func (k *keys) add(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = time.Now()
	switch {
	case key[0] == keyInterrupt:
		k.ahead = k.ahead[:0]
		if k.interrupt != nil {
			k.interrupt()
			return
		}
		// For the editor: go to the end, delete everything before it, and enter that.
		k.ahead = append(k.ahead, "\x05\x15\r"...)
	case len(k.ahead)+len(key) <= maxAhead:
		k.ahead = append(k.ahead, key...)
	}
	k.notify()
}

func (k *keys) notify() {
	select {
	case k.change <- struct{}{}:
	default:
	}
}

// onInterrupt makes Ctrl-C, and the end of the terminal, call do until the returned function is
// called.
func (k *keys) onInterrupt(do func()) (restore func()) {
	set := func(to func()) func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		before := k.interrupt
		k.interrupt = to
		if to != nil && k.ended != nil {
			to()
		}
		return before
	}
	before := set(do)
	return func() { set(before) }
}

// next waits for a byte of a key: at most for idle since the last key, if that is not 0, and until
// poke can be received from. It never reads one once ctx has ended.
func (k *keys) next(ctx context.Context, idle time.Duration, poke <-chan struct{}) (byte, error) {
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		c, ok, left, err := k.readByte(idle)
		if ok || err != nil {
			return c, err
		}
		if err := k.wait(ctx, left, poke); err != nil {
			return 0, err
		}
	}
}

// readByte reads a byte, if there is one. left is how long to wait for one; 0: forever.
func (k *keys) readByte(idle time.Duration) (c byte, ok bool, left time.Duration, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.ahead) > 0 {
		c, k.ahead = k.ahead[0], k.ahead[1:]
		return c, true, 0, nil
	}
	if k.ended != nil {
		return 0, false, 0, k.ended
	}
	if idle > 0 {
		if left = idle - time.Since(k.last); left <= 0 {
			return 0, false, 0, errIdle
		}
	}
	return 0, false, left, nil
}

// wait waits until something may have changed.
func (k *keys) wait(ctx context.Context, left time.Duration, poke <-chan struct{}) error {
	var late <-chan time.Time
	if left > 0 {
		timer := time.NewTimer(left)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-k.change:
	case <-late:
	case <-ctx.Done():
	case <-poke:
		return errPoked
	}
	return nil
}

// touch restarts the idle time.
func (k *keys) touch() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = time.Now()
}

// typed reads the keys one byte at a time, so that unread input stays for the next reader.
type typed struct {
	keys *keys
	ctx  context.Context
	idle time.Duration
	poke <-chan struct{} // nil: nothing new is waited for
}

// Read implements io.Reader.
func (t *typed) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, io.ErrShortBuffer
	}
	c, err := t.keys.next(t.ctx, t.idle, t.poke)
	if err != nil {
		return 0, err
	}
	t.poke = nil // a person is typing: nothing may interrupt the line
	p[0] = c
	return 1, nil
}

// drop discards unread input.
func (k *keys) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ahead = k.ahead[:0]
}
