package smtpc

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// canned is a server with fixed replies.
type canned struct {
	net.Conn // nil: nothing else is used
	replies  io.Reader
}

func (c *canned) Read(p []byte) (int, error)       { return c.replies.Read(p) }
func (c *canned) Write(p []byte) (int, error)      { return len(p), nil }
func (c *canned) Close() error                     { return nil }
func (c *canned) RemoteAddr() net.Addr             { return &net.UnixAddr{} }
func (c *canned) SetDeadline(time.Time) error      { return nil }
func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }

// FuzzReplies sends a message and gets random replies. Each byte of script is one: an index into a
// table. The oracle works in another way than the client: it only knows the index of each reply.
func FuzzReplies(f *testing.F) {
	table := []string{"250 ok\r\n", "550 no\r\n", "451 later\r\n", "421 closing\r\n", "354 go\r\n", "503 what\r\n", "250-more\r\n250 ok\r\n", "garbage\r\n", "25"}
	code := []int{250, 550, 451, 421, 354, 503, 250, 0, 0}
	for _, seed := range []string{"\x00\x00\x00\x00\x00\x00", "\x00\x00\x03\x00\x00", "\x03\x00\x00\x00\x00\x00", "\x00\x00\x00\x04\x05\x00", "\x01\x00\x00\x00\x00", "\x00\x00\x01\x05\x07"} {
		for mode := range byte(8) {
			f.Add([]byte(seed), mode, uint8(3))
		}
	}
	f.Fuzz(func(t *testing.T, script []byte, mode, rcpts byte) {
		lmtp, chunked, n := mode&1 != 0, mode&2 != 0, int(rcpts%4)+1
		script = script[:min(len(script), 20)]
		var stream strings.Builder
		stream.WriteString("220 x\r\n250-x\r\n250-PIPELINING\r\n250 ")
		stream.WriteString(map[bool]string{true: "CHUNKING\r\n", false: "HELP\r\n"}[chunked])
		var codes []int // up to a malformed reply
		whole := true
		greeting := stream.Len()
		for i, b := range script {
			script[i] = b % byte(len(table))
			stream.WriteString(table[script[i]])
			if whole = whole && code[script[i]] != 0; whole {
				codes = append(codes, code[script[i]])
			}
		}
		text := stream.String()
		parts := []io.Reader{strings.NewReader(text[:greeting]), strings.NewReader(text[greeting:])}
		if mode&4 != 0 { // none is seen before it is read
			parts = parts[:1]
			for _, b := range script {
				parts = append(parts, strings.NewReader(table[b]))
			}
		}
		conn := &canned{replies: io.MultiReader(parts...)}
		c, err := Dial(t.Context(), "core.test:25", Options{LMTP: lmtp, Hello: "x", TLSMode: TLSNever,
			Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }})
		if err != nil {
			t.Fatal(err)
		}
		results, _ := c.Send(t.Context(), testMessage(n))
		ends := 1 + n // place of the first reply to the message, if nothing came unasked
		if !chunked {
			ends++ // 354
		}
		for i, r := range results {
			switch failure := r.Failure; {
			case failure == nil:
				if !has(codes, 2, ends) {
					t.Errorf("recipient %d of %d delivered by %v", i, n, codes)
				}
				if class(codes, 1+i) != 2 && class(codes, 2+i) != 2 {
					t.Errorf("recipient %d of %d delivered, RCPT refused: %v", i, n, codes)
				}
			case failure == unattempted:
				t.Errorf("recipient %d has no result: %v", i, codes)
			case failure.Permanent && (failure.Reply.Code < 500 || !has(codes, 5, 0)):
				t.Errorf("recipient %d of %d bounced by %v: %v", i, n, codes, failure)
			}
		}
		c.Close()
	})
}

// has reports whether one of codes, from an index on, is of a class.
func has(codes []int, of, from int) bool {
	for i := from; i < len(codes); i++ {
		if codes[i]/100 == of {
			return true
		}
	}
	return false
}

// class returns the class of the reply at an index, or 0 if there is none.
func class(codes []int, at int) int {
	if at >= len(codes) {
		return 0
	}
	return codes[at] / 100
}
