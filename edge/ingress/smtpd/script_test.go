package smtpd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/judge/policy"
	"anymx/edge/judge/replies"
	"anymx/edge/mail"
	"anymx/edge/spool"
	"anymx/tests/kit"

	"github.com/cockroachdb/pebble/v2/vfs"
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

// scripted is the spool of all scripted sessions: opening one costs more than a session.
var scripted = sync.OnceValue(func() *spool.Spool {
	sp, err := spool.Open(spool.Options{Dir: "spool", FS: vfs.NewMem()})
	if err != nil {
		panic(err)
	}
	return sp
})

// arrival is a message that was stored, without its trace field.
type arrival struct {
	envelope *mail.Envelope
	text     string
}

// play runs a session of pieces to its end, and returns what was stored and what was said.
func play(t testing.TB, set Settings, pieces [][]byte) ([]arrival, string) {
	t.Helper()
	var stored []arrival
	sp := scripted()
	srv := New(Options{Node: "test1", Settings: set, Spool: sp, Now: stoppedClock, Accepted: func(m *spool.Message) {
		text := body(t, m)
		_, text, _ = strings.Cut(text, endOfTrace)
		stored = append(stored, arrival{m.Envelope, text})
		m.Release()
		if err := sp.Remove(m.Envelope.ID); err != nil {
			t.Error(err)
		}
	}})
	conn := &scriptConn{pieces: pieces, gone: make(chan struct{})}
	one := oneListener{make(chan *scriptConn, 1), conn.gone}
	one.first <- conn
	close(one.first)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(one) }()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Fatal(err)
		}
	case <-ctx.Done():
		t.Fatalf("session hangs\n%s", kit.Stacks())
	}
	srv.Registry().Close(ctx)
	if n := srv.Registry().Open(); n != 0 {
		t.Fatalf("%d connections still counted", n)
	}
	return stored, conn.written.String()
}

// endOfTrace ends our trace field: the clock of scripted sessions stands still.
const endOfTrace = "; Tue, 1 Dec 2026 00:00:00 +0000\r\n"

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

// FuzzDialogue sends anything at all. Nothing may hang or panic, and nothing that two servers could
// read differently may be stored. How the stream was cut must not change what is stored and said: only
// what came before it was asked for, behind DATA or STARTTLS, ends the connection.
func FuzzDialogue(f *testing.F) {
	addDialogues(f)
	f.Fuzz(func(t *testing.T, data, sizes []byte, flags byte) {
		if len(data) > 16<<10 {
			return
		}
		set := scriptSettings(flags)
		got, said := play(t, set, inPieces(data, sizes))
		if !replyLines.MatchString(said) {
			t.Errorf("said %q", said)
		}
		if strings.Contains(said, " 4.0.0 ") {
			t.Errorf("panicked: %q", said)
		}
		for _, d := range got {
			if clean := strings.ReplaceAll(d.text, "\r\n", ""); strings.ContainsAny(clean, "\r\n\x00") {
				t.Errorf("stored %q", d.text)
			}
		}
		most, slowly := play(t, set, inPieces(data, []byte{0}))
		if len(got) > len(most) {
			t.Fatalf("%d messages stored, %d when it comes byte by byte", len(got), len(most))
		}
		for i, d := range got {
			sameArrival(t, d, most[i])
		}
		sameReplies(t, said, slowly)
	})
}

// sameArrival fails the test if a message was not stored as it was when it came byte by byte.
func sameArrival(t *testing.T, got, want arrival) {
	t.Helper()
	g, w := got.envelope, want.envelope
	if got.text != want.text || g.Sender != w.Sender || !slices.Equal(g.Recipients, w.Recipients) {
		t.Errorf("stored %q from %s to %v, byte by byte %q from %s to %v", got.text, g.Sender, g.Recipients, want.text, w.Sender, w.Recipients)
	}
}

var spoolID = regexp.MustCompile(`stored as [0-9a-z]+`)

// sameReplies fails the test if said differs from slowly, what is said when it comes byte by byte, other
// than by an end for what came too soon.
func sameReplies(t *testing.T, said, slowly string) {
	t.Helper()
	said, slowly = spoolID.ReplaceAllString(said, "stored"), spoolID.ReplaceAllString(slowly, "stored")
	for _, end := range []string{wireForm(replies.MessageUnasked.Reply), wireForm(replies.AfterStartTLS.Reply)} {
		if before, ok := strings.CutSuffix(said, end); ok && strings.HasPrefix(slowly, before) {
			return
		}
	}
	if said != slowly {
		t.Errorf("said %q, byte by byte %q", said, slowly)
	}
}

// wireForm returns a reply of one line as it is sent.
func wireForm(r mail.Reply) string { return fmt.Sprintf("%d %s %s\r\n", r.Code, r.Enhanced, r.Text) }

// scriptSettings are the settings that the bits of flags choose.
func scriptSettings(flags byte) Settings {
	set := discarding()
	set.Checks, set.MaxCommands = policy.Checks{}, 500
	if flags&1 != 0 {
		set.Wire.TLS = nil
	}
	if flags&2 != 0 {
		set.Rules.MaxMessage, set.Wire.Limits.MaxTextLine = 50, 20
	}
	if flags&4 != 0 {
		set.MaxErrors, set.Wire.Limits.MaxLine = 3, 60
	}
	return set
}

// addDialogues seeds f with what the clients of the dialogues say.
func addDialogues(f *testing.F) {
	files, _ := filepath.Glob("testdata/dialogues/*.txt")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		s := &kit.Story{T: &testing.T{}, File: file}
		var sent []byte
		for line := range strings.Lines(string(text)) {
			if said, ok := strings.CutPrefix(line, "C: "); ok && len(line) < 500 {
				sent = append(sent, s.Unescape(strings.TrimSuffix(said, "\n"))...)
			}
		}
		f.Add(sent, []byte{255}, byte(0))
		f.Add(sent, []byte{0}, byte(1))
		f.Add(sent, []byte{3, 30}, byte(7))
	}
}

func stoppedClock() time.Time { return time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC) }
