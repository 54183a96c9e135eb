package spool

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
)

// Message is a committed message as the queue holds it for an attempt: the envelope, and a body
// that may still be in memory. It is safe for use by many goroutines.
type Message struct {
	Envelope *mail.Envelope // must not be changed
	Legs     []Leg          // that are left; of Load: all, of LoadLeg: the one

	s       *Spool
	header  header
	checked atomic.Bool // the body file, not written by this process, has passed its checksum

	mu   sync.Mutex
	body *held // nil: read from the disk
	old  bool  // loaded from the disk, not committed by this process
}

// held is a body in memory, shared by a Message and its Bodies.
type held struct {
	buf    *buffer
	ledger *ledger // nil: not counted
	refs   atomic.Int32
}

func (h *held) release() {
	if h.refs.Add(-1) > 0 {
		return
	}
	if h.ledger != nil {
		h.ledger.memory.Add(-int64(cap(h.buf.b)))
	}
	h.buf.free()
}

// Release frees the memory of the body. Body then reads from the disk. Later calls do nothing.
func (m *Message) Release() {
	m.mu.Lock()
	h := m.body
	m.body = nil
	m.mu.Unlock()
	if h != nil {
		h.release()
	}
}

// Body opens the message for reading as it is delivered, from its start: front + body - cuts. It may be called many times, and each Body must
// be closed. It returns ErrNotFound for a removed message, and ErrDamaged for a damaged body.
func (m *Message) Body() (*Body, error) {
	m.mu.Lock()
	if h := m.body; h != nil {
		h.refs.Add(1)
		m.mu.Unlock()
		return m.newBody(h, nil), nil
	}
	m.mu.Unlock()
	open := m.fromEngine
	if m.header.inFile {
		open = m.fromFile
	}
	b, err := open()
	if err != nil {
		return nil, fmt.Errorf("body of %s: %w", m.Envelope.ID, err)
	}
	return b, nil
}

// fromEngine copies the body from the engine, so that a slow reader doesn't pin a table or a
// memtable.
func (m *Message) fromEngine() (*Body, error) {
	if err := m.s.reading(); err != nil {
		return nil, err
	}
	defer m.s.readers.done()
	h := &held{}
	h.refs.Store(1)
	k := key(keyBody, m.Envelope.ID)
	err := m.s.engine.get(k[:], func(v []byte) error {
		if int64(len(v)) != m.header.size {
			return fmt.Errorf("%d of %d bytes: %w", len(v), m.header.size, ErrDamaged)
		}
		h.buf = newBuffer(len(v))
		h.buf.b = append(h.buf.b, v...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return m.newBody(h, nil), nil
}

// fromFile opens the body's file. The first time after a start it reads the whole file to verify
// its checksum, because most file systems have none.
func (m *Message) fromFile() (*Body, error) {
	if err := m.s.engine.err(); err != nil {
		return nil, err
	}
	f, err := m.s.bodies.open(m.Envelope.ID)
	if errors.Is(err, fs.ErrNotExist) {
		// Was the message removed, or only the file?
		if _, _, e := m.s.header(m.Envelope.ID); e != nil {
			return nil, e
		}
		err = fmt.Errorf("file is missing: %w", ErrDamaged)
	}
	if err != nil {
		m.s.metrics.errors.read.Inc()
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size() != m.header.size {
		err = fmt.Errorf("%d of %d bytes: %w", info.Size(), m.header.size, ErrDamaged)
	}
	if err == nil && m.old && !m.checked.Load() {
		if err = verifySum(f, m.header); err == nil {
			m.checked.Store(true)
		}
	}
	if err != nil {
		m.s.metrics.errors.read.Inc()
		return nil, errors.Join(err, f.Close())
	}
	return m.newBody(nil, f), nil
}

// checkPiece is the size of the buffer for verifying a file.
const checkPiece = 256 << 10

// verifySum compares a file with the checksum in its envelope record.
func verifySum(f vfs.File, h header) error {
	buf := newBuffer(checkPiece)
	defer buf.free()
	p := buf.b[:cap(buf.b)]
	var sum uint32
	for off := int64(0); off < h.size; {
		n, err := f.ReadAt(p[:min(int64(len(p)), h.size-off)], off)
		sum = crc32.Update(sum, castagnoli, p[:n])
		off += int64(n)
		if err != nil && (err != io.EOF || off < h.size) {
			return err
		}
	}
	if sum != h.sum {
		return fmt.Errorf("checksum %08x, want %08x: %w", sum, h.sum, ErrDamaged)
	}
	return nil
}
