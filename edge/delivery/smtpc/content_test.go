package smtpc

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
)

// FuzzStuffer compares with stuffing line by line, for any message of whole
// lines in any pieces.
func FuzzStuffer(f *testing.F) {
	f.Add([]byte("a\r\n.b\r\n..\r\n.\r\n"), 3)
	f.Add([]byte("."), 1)
	f.Add([]byte("\r\n.\r\n\r\n."), 2)
	f.Add([]byte("a\n.\r\n"), 7)
	f.Fuzz(func(t *testing.T, in []byte, piece int) {
		piece = min(max(piece, 1), len(in)+1)
		var s stuffer
		var out []byte
		for rest := in; len(rest) > 0; {
			p := rest[:min(piece, len(rest))]
			rest = rest[len(p):]
			for len(p) > 0 {
				n, dot, err := s.cut(p)
				if err != nil {
					if !bareDot(in) {
						t.Fatalf("%q refused", in)
					}
					return
				}
				out = append(out, p[:n]...)
				if dot {
					out = append(out, '.')
				}
				p = p[n:]
			}
		}
		if bareDot(in) {
			t.Fatalf("%q was not refused", in)
		}
		if !s.atStart() {
			out = append(out, "\r\n"...)
		}
		if out = append(out, ".\r\n"...); !bytes.Equal(out, stuffed(in)) {
			t.Fatalf("%q became %q, want %q", in, out, stuffed(in))
		}
	})
}

// bareDot reports whether a dot follows a line feed without a carriage return.
func bareDot(b []byte) bool {
	for i := 1; i < len(b); i++ {
		if b[i] == '.' && b[i-1] == '\n' && (i == 1 || b[i-2] != '\r') {
			return true
		}
	}
	return false
}

// file is a Content on disk, like the spool's long messages.
type file struct{ *os.File }

func (f file) Size() int64                      { info, _ := f.Stat(); return info.Size() }
func (f file) Pieces([][]byte) ([][]byte, bool) { return nil, false }
func (f file) WriteTo(w io.Writer) (int64, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	return f.File.WriteTo(w)
}

// wrong is a Content with a wrong size, or one that can't be read.
type wrong struct {
	memory
	size int64
	err  error
}

func (w wrong) Size() int64                      { return w.size }
func (w wrong) Pieces([][]byte) ([][]byte, bool) { return nil, false }
func (w wrong) WriteTo(to io.Writer) (int64, error) {
	n, err := to.Write(w.memory)
	if err == nil {
		err = w.err
	}
	return int64(n), err
}

func TestFileGoesWhole(t *testing.T) {
	want := testBody(5 << 20)
	name := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, test := range []struct {
		name    string
		options Options
		server  *smtptest.Server
	}{
		{name: "sendfile", options: Options{TLSMode: TLSNever}, server: &smtptest.Server{Extensions: smtptest.All()}},
		{name: "dots", options: Options{TLSMode: TLSNever}, server: &smtptest.Server{}},
		{name: "TLS", server: &smtptest.Server{Extensions: append(smtptest.All(), "STARTTLS")}},
		{name: "TLS dots", server: &smtptest.Server{Extensions: []string{"STARTTLS"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.server
			if test.options.TLSMode == TLSAuto {
				s.TLS = serverTLS()
			}
			c := dialTest(t, smtptest.Start(t, s), test.options)
			for range 2 { // a second time from its start
				mustDeliver(t, c, Message{Envelope: testEnvelope(1), Pending: []int{0}, Body: file{f}})
			}
			for _, m := range s.Messages() {
				if !bytes.Equal(m.Body, want) || m.TLS != (s.TLS != nil) || m.Chunked != (len(s.Extensions) > 1) {
					t.Errorf("%d bytes of %d, TLS %v, chunked %v", len(m.Body), len(want), m.TLS, m.Chunked)
				}
			}
		})
	}
}

// TestContentFails: content that can't be read is not the server's fault, and is never delivered.
func TestContentFails(t *testing.T) {
	text := memory("Subject: x\r\n\r\nhello\r\n")
	for name, body := range map[string]Content{
		"short":    wrong{text, int64(len(text)) + 1, nil},
		"long":     wrong{text, int64(len(text)) - 1, nil},
		"error":    wrong{text[:9], int64(len(text)), syscall.EIO},
		"far away": wrong{nil, 1 << 20, errors.New("gone")},
		"bare LF":  stored{memory("Subject: x\r\n\r\na\n.b\r\n")},
	} {
		for _, extensions := range [][]string{smtptest.All(), {"PIPELINING"}, nil} {
			if name == "bare LF" && len(extensions) > 1 {
				continue // BDAT carries anything
			}
			t.Run(name, func(t *testing.T) {
				s := smtptest.Start(t, &smtptest.Server{Extensions: extensions})
				c := dialTest(t, s, Options{TLSMode: TLSNever})
				results, err := c.Send(t.Context(), Message{Envelope: testEnvelope(1), Pending: []int{0}, Body: body})
				f := results[0].Failure
				if f == nil || f.Permanent || f.Command == DataEnd || !errors.Is(f, ErrContent) || f.Enhanced != (mail.Enhanced{4, 3, 0}) {
					t.Errorf("result %v", f)
				}
				if err == nil || !c.Dead() {
					t.Error("the stream is in the middle of a message")
				}
				c.Close()
				s.Close()
				if s.Accepted() != 0 {
					t.Error("it was delivered")
				}
			})
		}
	}
}

// TestRollingDeadline checks that each block has its own deadline: a server that reads slowly gets
// a message that takes much longer than the timeout of one block.
func TestRollingDeadline(t *testing.T) {
	body := testBody(4 << 20)
	s := smtptest.Start(t, &smtptest.Server{Extensions: smtptest.All()})
	const block = 300 * time.Millisecond
	o := Options{TLSMode: TLSNever, Timeouts: Timeouts{Block: block}, Dial: throttled(t, 60*time.Millisecond)}
	c := dialTest(t, s, o)
	began := time.Now()
	mustDeliver(t, c, Message{Envelope: testEnvelope(1), Pending: []int{0}, Body: stored{memory(body)}})
	if took := time.Since(began); took < 2*block {
		t.Skipf("took %v: the server was not slow", took)
	}
	if !bytes.Equal(s.Messages()[0].Body, body) {
		t.Error("not the same")
	}
}

// TestStalledServer stops reading in the middle of a body.
func TestStalledServer(t *testing.T) {
	var s *smtptest.Server
	s = &smtptest.Server{Extensions: smtptest.All(), Hook: func(step smtptest.Step) smtptest.Action {
		if step.Verb == "BODY" {
			<-s.Done()
		}
		return smtptest.Action{}
	}}
	smtptest.Start(t, s)
	c := dialTest(t, s, Options{TLSMode: TLSNever, Timeouts: Timeouts{Block: 100 * time.Millisecond}})
	results, _ := c.Send(t.Context(), Message{Envelope: testEnvelope(1), Pending: []int{0}, Body: stored{memory(testBody(40 << 20))}})
	if f := results[0].Failure; f == nil || !IsTimeout(f) || f.Command != cmdDATA || !strings.Contains(f.Error(), "timeout") {
		t.Errorf("%v", f)
	}
}
