package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"anymx/edge/mail"
)

func begin(t testing.TB, s *Spool, body string) *Draft {
	t.Helper()
	d, err := s.BeginDraft()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(d, body); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDraftEnds(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		for _, size := range []int{10, 100_000} {
			d := begin(t, s, strings.Repeat("x", size))
			if d.Size() != int64(size) || d.ID().IsZero() {
				t.Errorf("draft %s of %d bytes", d.ID(), d.Size())
			}
			d.Discard()
			d.Discard()
			if _, err := d.Write([]byte("x")); err == nil {
				t.Error("wrote to a discarded draft")
			}
			if _, err := d.Commit(message()); err == nil {
				t.Error("committed a discarded draft")
			}
			wantGone(t, s, d.ID())

			d = begin(t, s, strings.Repeat("y", size))
			m, err := d.Commit(message())
			if err != nil {
				t.Fatal(err)
			}
			d.Discard()
			if _, err := d.Commit(message()); err == nil {
				t.Error("committed twice")
			}
			if body, err := bodyOf(m); err != nil || len(body) != size {
				t.Errorf("body of %d bytes after Discard, %v", len(body), err)
			}
		}
		if ids, _, err := s.bodies.list(); err != nil || len(ids) != 1 {
			t.Errorf("body files %v, %v", ids, err)
		}
		if st := s.Stats(); st.Drafts != 0 || s.ledger.inFlight.Load() != 0 {
			t.Errorf("stats %+v, in flight %d", st, s.ledger.inFlight.Load())
		}
	})
}

// A draft uses no more memory than Options.InlineMax however long it gets, and nothing is lost
// between its pieces.
func TestDraftMemory(t *testing.T) {
	o := testOptions(memory())
	o.InlineMax = 256 << 10
	s := openTest(t, o)
	rng := rand.New(rand.NewPCG(8, 8))
	body := randomOf(rng, 3<<20)
	d := begin(t, s, "")
	for rest := body; len(rest) > 0; {
		n := min(len(rest), []int{1, 1000, 40_000, 64 << 10, 100_000}[rng.IntN(5)])
		if _, err := d.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
		if c := cap(d.buf.b); int64(c) > o.InlineMax || d.file != nil && c > spillPiece {
			t.Fatalf("buffer of %d bytes after %d", c, d.Size())
		}
	}
	m, err := d.Commit(message())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := bodyOf(m); err != nil || !bytes.Equal(got, body) {
		t.Errorf("other body, %v", err)
	}
}

// The memory of bodies is bounded, and freed by Release, but not before the last reader is done.
func TestMemoryBudget(t *testing.T) {
	o := testOptions(memory())
	o.Memory = 3 * firstBuffer
	s := openTest(t, o)
	var held []*Message
	for i := range 5 {
		m := store(t, s, []byte(fmt.Sprint("body ", i)))
		held = append(held, m)
	}
	if got := s.Stats().MemoryBytes; got != o.Memory {
		t.Errorf("%d bytes in memory, want %d", got, o.Memory)
	}
	r, err := held[0].Body()
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range held {
		if body, err := bodyOf(m); err != nil || string(body) != fmt.Sprint("body ", i) {
			t.Errorf("body %q, %v", body, err)
		}
		m.Release()
		m.Release()
	}
	if got := s.Stats().MemoryBytes; got != firstBuffer {
		t.Errorf("%d bytes in memory while one is read", got)
	}
	if b, ok := r.Pieces(nil); !ok || len(b) != 1 || string(b[0]) != "body 0" {
		t.Errorf("read %q", b)
	}
	r.Close()
	r.Close()
	if got := s.Stats().MemoryBytes; got != 0 {
		t.Errorf("%d bytes in memory", got)
	}
}

// An envelope of thousands of recipients does not leave its memory in the pool of small buffers,
// and is read back complete.
func TestManyRecipients(t *testing.T) {
	s := openTest(t, testOptions(memory()))
	env := message()
	for i := range 20_000 {
		env.Recipients = append(env.Recipients, mail.Recipient{Path: mail.Path{Local: fmt.Sprint("r", i), Domain: "example.net"}})
	}
	m, err := begin(t, s, "to all").Commit(env)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Load(m.Envelope.ID)
	if err != nil || !slices.Equal(got.Envelope.Recipients, env.Recipients) {
		t.Errorf("%d recipients, %v", len(got.Envelope.Recipients), err)
	}
	for range 10 {
		if b := newBuffer(0); cap(b.b) != bufferSizes[0] {
			t.Fatalf("a small buffer of %d bytes", cap(b.b))
		}
	}
}

// Bodies from memory, the engine and a file are read in small steps, then with WriteTo, over a TCP
// connection.
func TestBodyReads(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		for _, size := range []int{10, 3000, 200_000} {
			body := randomOf(rand.New(rand.NewPCG(3, 3)), size)
			m := store(t, s, body)
			for _, when := range []string{"memory", "disk"} {
				b, err := m.Body()
				if err != nil {
					t.Fatal(err)
				}
				if b.Size() != int64(size) {
					t.Errorf("size %d", b.Size())
				}
				head := make([]byte, 7)
				if _, err := io.ReadFull(b, head); err != nil {
					t.Fatal(err)
				}
				rest := overTCP(t, b)
				if !bytes.Equal(append(head, rest...), body) {
					t.Errorf("%d bytes from %s: read something else", size, when)
				}
				if n, err := b.Read(head); n != 0 || err != io.EOF {
					t.Errorf("after the end: %d, %v", n, err)
				}
				if err := b.Close(); err != nil {
					t.Error(err)
				}
				if _, err := b.Read(head); !errors.Is(err, fs.ErrClosed) {
					t.Errorf("read after Close: %v", err)
				}
				if _, err := b.WriteTo(io.Discard); !errors.Is(err, fs.ErrClosed) {
					t.Errorf("WriteTo after Close: %v", err)
				}
				m.Release()
			}
		}
	})
}

// overTCP sends b over a connection and returns what arrives.
func overTCP(t *testing.T, b io.WriterTo) []byte {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan []byte)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- nil
			return
		}
		defer c.Close()
		all, _ := io.ReadAll(c)
		got <- all
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.WriteTo(c)
	if err := errors.Join(err, c.Close()); err != nil {
		t.Error(err)
	}
	return <-got
}
