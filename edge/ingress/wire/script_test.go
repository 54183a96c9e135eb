package wire

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/tests/kit"
)

// scriptConn is a client that sends its pieces, one for each Read of the
// server, and closes; what the server writes is kept.
type scriptConn struct {
	net.Conn // nil: what is not below is not called
	pieces   [][]byte
	gone     chan struct{} // closed by Close

	mu      sync.Mutex
	expired bool
	written bytes.Buffer
}

func (c *scriptConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.expired:
		return 0, os.ErrDeadlineExceeded
	case len(c.pieces) == 0:
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

func (c *scriptConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written.Write(p)
}

func (c *scriptConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.expired = !t.IsZero() && time.Until(t) <= 0
	return nil
}

func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }
func (c *scriptConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptConn) Close() error                     { close(c.gone); return nil }
func (c *scriptConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }
func (c *scriptConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711}
}

// oneListener accepts one connection, and ends when that does.
type oneListener struct {
	first chan *scriptConn
	gone  chan struct{}
}

func (l oneListener) Accept() (net.Conn, error) {
	if c, ok := <-l.first; ok {
		return c, nil
	}
	<-l.gone
	return nil, net.ErrClosed
}
func (l oneListener) Close() error   { return nil }
func (l oneListener) Addr() net.Addr { return &net.TCPAddr{} }

// play runs a session of pieces to its end, and returns what was delivered and
// what was said.
func play(t testing.TB, set Settings, lmtp, lobby bool, pieces [][]byte) ([]delivery, string) {
	t.Helper()
	set.Hostname = hostname
	b := &backend{max: set.Limits.MaxMessage}
	registry := NewRegistry(Options{Settings: set})
	srv := newSMTP(b)
	srv.LMTP = lmtp
	conn := &scriptConn{pieces: pieces, gone: make(chan struct{})}
	one := oneListener{make(chan *scriptConn, 1), conn.gone}
	one.first <- conn
	close(one.first)
	l := registry.Listen(one)
	if lobby {
		l.learn(goSMTP, lmtp)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(l)
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	select {
	case <-served:
	case <-ctx.Done():
		t.Fatalf("session hangs\n%s", kit.Stacks())
	}
	registry.Close(ctx)
	if err := srv.Shutdown(ctx); err != nil {
		t.Fatalf("go-smtp hangs: %v\n%s", err, kit.Stacks())
	}
	if n := registry.Open(); n != 0 {
		t.Fatalf("%d connections still counted", n)
	}
	return b.delivered, conn.written.String()
}

// inPieces cuts data into pieces whose lengths are in sizes, over and over.
func inPieces(data, sizes []byte) [][]byte {
	var pieces [][]byte
	for i := 0; len(data) > 0; i++ {
		n := len(data)
		if len(sizes) > 0 {
			n = min(n, int(sizes[i%len(sizes)])+1)
		}
		pieces = append(pieces, bytes.Clone(data[:n]))
		data = data[n:]
	}
	return pieces
}

var replyLines = regexp.MustCompile(`^([2345][0-9][0-9][ -][^\r\n\x00]*\r\n)*$`)

// FuzzDialogue sends anything at all. Nothing may hang or panic, nothing that
// two servers could read differently may be delivered, and how the stream was
// cut must not change what is delivered: only that a message which came before
// its 354 ends the connection.
func FuzzDialogue(f *testing.F) {
	files, _ := filepath.Glob("testdata/dialogues/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		s := &kit.Story{T: &testing.T{}, File: file}
		var sent []byte
		for line := range strings.Lines(string(text)) {
			if bytes, ok := strings.CutPrefix(line, "C: "); ok && len(line) < 500 {
				sent = append(sent, s.Unescape(strings.TrimSuffix(bytes, "\n"))...)
			}
		}
		f.Add(sent, []byte{255}, byte(0))
		f.Add(sent, []byte{0}, byte(1))
		f.Add(sent, []byte{3, 30}, byte(7))
	}
	f.Fuzz(func(t *testing.T, data, sizes []byte, flags byte) {
		if len(data) > 16<<10 {
			return
		}
		set := Settings{Limits: Limits{MaxCommands: 500}}
		if flags&2 != 0 {
			set.Limits.MaxMessage, set.Limits.MaxTextLine = 50, 20
		}
		if flags&4 != 0 {
			set.Limits.MaxErrors, set.Limits.MaxLine = 3, 60
		}
		lmtp := flags&1 != 0
		got, said := play(t, set, lmtp, false, inPieces(data, sizes))
		if _, again := play(t, set, lmtp, true, inPieces(data, sizes)); again != said {
			t.Errorf("said %q, from the lobby %q", said, again)
		}
		if !replyLines.MatchString(said) {
			t.Errorf("said %q", said)
		}
		for _, d := range got {
			if clean := strings.ReplaceAll(string(d.body), "\r\n", ""); strings.ContainsAny(clean, "\r\n\x00") {
				t.Errorf("delivered %q", d.body)
			}
		}
		most, _ := play(t, set, lmtp, true, inPieces(data, []byte{0}))
		if len(got) > len(most) {
			t.Fatalf("%d messages delivered, %d when it comes octet by octet", len(got), len(most))
		}
		for i, d := range got {
			if !bytes.Equal(d.body, most[i].body) || d.from != most[i].from || len(d.to) != len(most[i].to) {
				t.Errorf("delivered %q from %q, octet by octet %q from %q", d.body, d.from, most[i].body, most[i].from)
			}
		}
	})
}
