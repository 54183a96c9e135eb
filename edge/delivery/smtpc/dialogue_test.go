package smtpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/mail"
)

// A dialogue is a file of testdata: the messages to send, the lines of server and client, and the
// results.
//
//	options lmtp xforward xclient private tls=require ignore=DSN command=50ms greeting=50ms
//	mail a@example.org 8bit utf8 requiretls ret=full envid=x+y content=header+body
//	rcpt b@example.net notify=success,delay orcpt=rfc822;b@example.com
//	| a line of the body; none is three short lines
//	body 300000               a body of this many bytes
//	unterminated              without its last CRLF
//	S: 220 ready              the server writes a line
//	C: EHLO edge.test         the client must write this line
//	BODY                      the client must write the body as it is
//	DOTS                      the client must write it dot-stuffed, and the end
//	SKIP 100                  the server reads this many bytes
//	TLS                       the server's side of the handshake
//	TLSFAIL                   the same, and the client aborts it
//	RAW \xff\r\n              the server writes this Go string
//	CLOSE, RESET, HANG        the server ends the connection, or falls silent
//	CONNECTION                the client must reconnect
//	dial failed: ...          what Dial must say
//	= ok 250 2.0.0 text       the results, in the order of the recipients
//	= 5.1.1 HOST: RCPT: ...   a failure: status and Failure.Error
//	dead, alive               the connection after the message
//
// A further "mail" line begins the next message on the same connection.
type dialogue struct {
	options  Options
	script   [][]turn // one for each connection
	messages []message
	dial     string
	current  atomic.Int32 // the message that is sent
}

type turn struct {
	line int
	verb string
	text string
}

type message struct {
	Message
	body []byte
	want []string
	end  string
}

func TestDialogues(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.txt")
	if len(files) < 20 {
		t.Fatalf("only %d dialogues", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			readDialogue(t, file).play(t)
		})
	}
}

// play holds the dialogue over real TCP.
func (d *dialogue) play(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := make(chan error, 1)
	stop := make(chan struct{})
	go func() { server <- d.serve(l, stop) }()
	defer func() {
		close(stop)
		l.Close()
		if err := <-server; err != nil {
			t.Errorf("server: %v", err)
		}
	}()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := Dial(ctx, l.Addr().String(), d.options)
	host := fmt.Sprintf("core.test[127.0.0.1]:%d", l.Addr().(*net.TCPAddr).Port)
	if got := dialText(err, host); got != d.dial {
		t.Fatalf("dial: got  %s\n      want %s", got, d.dial)
	}
	if err != nil {
		return
	}
	defer c.Close()
	for i, m := range d.messages {
		d.current.Store(int32(i))
		results, err := c.Send(ctx, m.Message)
		if (err != nil) != c.Dead() {
			t.Errorf("message %d: error %v, dead %v", i, err, c.Dead())
		}
		for j, r := range results {
			if got := resultText(r, host); j >= len(m.want) || got != m.want[j] {
				t.Errorf("message %d, recipient %d\n got %s\nwant %v", i, j, got, m.want)
			}
		}
		if len(results) != len(m.Pending) {
			t.Errorf("message %d: %d results", i, len(results))
		}
		if end := map[bool]string{true: "dead", false: "alive"}[c.Dead()]; m.end != end {
			t.Errorf("message %d: connection is %s: %v", i, end, err)
		}
		if c.in.buf != nil || c.space != nil || c.tx.m != nil {
			t.Error("an idle connection holds buffers")
		}
	}
}

func dialText(err error, host string) string {
	if err == nil {
		return ""
	}
	var f *mail.Failure
	if !errors.As(err, &f) {
		return "not a Failure: " + err.Error()
	}
	return failureText(f, host)
}

func failureText(f *mail.Failure, host string) string {
	text := strings.ReplaceAll(f.Error(), host, "HOST")
	// The kernel's error after a reset depends on timing.
	for _, hangup := range []string{"connection reset by peer", "broken pipe"} {
		if strings.HasSuffix(text, hangup) && f.Reply.Code == 0 {
			text = text[:strings.Index(text, f.Enhanced.String())] + f.Enhanced.String() + " " + errHangup.Error()
		}
	}
	if errors.Is(f, os.ErrDeadlineExceeded) {
		text = text[:strings.Index(text, f.Enhanced.String())] + f.Enhanced.String() + " timeout"
	}
	return f.Enhanced.String() + " " + text
}

func resultText(r mail.Result, host string) string {
	if r.Failure != nil {
		return failureText(r.Failure, host)
	}
	text := "ok " + r.Reply.String()
	if r.Relayed {
		text += " (relayed)"
	}
	return text
}

// serve plays the server's part, one connection after the other.
func (d *dialogue) serve(l net.Listener, stop chan struct{}) error {
	for _, script := range d.script {
		conn, err := l.Accept()
		if err != nil {
			return fmt.Errorf("line %d: no connection: %w", script[0].line, err)
		}
		err = d.converse(conn, script, stop)
		conn.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *dialogue) converse(conn net.Conn, script []turn, stop chan struct{}) error {
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	raw, r := conn, bufio.NewReader(conn)
	for _, step := range script {
		var err error
		switch step.verb {
		case "S":
			_, err = io.WriteString(conn, step.text+"\r\n")
		case "RAW":
			_, err = io.WriteString(conn, step.text)
		case "C":
			var line string
			if line, err = r.ReadString('\n'); err == nil && line != step.text+"\r\n" {
				err = fmt.Errorf("client said %q", line)
			}
		case "BODY":
			err = expect(r, d.messages[d.current.Load()].body)
		case "DOTS":
			err = expect(r, stuffed(d.messages[d.current.Load()].body))
		case "SKIP":
			n, _ := strconv.ParseInt(step.text, 10, 64)
			_, err = io.CopyN(io.Discard, r, n)
		case "TLS":
			server := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{testCert}})
			if err = server.Handshake(); err == nil {
				conn, r = server, bufio.NewReader(server)
			}
		case "TLSFAIL":
			server := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{testCert}})
			if server.Handshake() == nil {
				err = errors.New("handshake went well")
			}
			return err
		case "CLOSE":
			return nil
		case "RESET":
			return raw.(*net.TCPConn).SetLinger(0)
		case "HANG":
			<-stop
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %s %s: %w", step.line, step.verb, step.text, err)
		}
	}
	rest, _ := io.ReadAll(io.LimitReader(r, 6))
	if len(rest) > 0 && string(rest) != "QUIT\r\n" {
		return fmt.Errorf("client went on with %q", rest)
	}
	if len(rest) > 0 {
		_, _ = io.WriteString(conn, "221 2.0.0 Bye\r\n")
	}
	return nil
}

func expect(r io.Reader, want []byte) error {
	got := make([]byte, len(want))
	if n, err := io.ReadFull(r, got); err != nil {
		return fmt.Errorf("%d bytes of %d: %w", n, len(want), err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("message differs: got %.200q", got)
	}
	return nil
}

// stuffed dot-stuffs a message in the most obvious way.
func stuffed(b []byte) []byte {
	var out []byte
	for _, line := range bytes.SplitAfter(b, []byte("\r\n")) {
		if bytes.HasPrefix(line, []byte(".")) {
			out = append(out, '.')
		}
		out = append(out, line...)
	}
	if len(out) > 0 && !bytes.HasSuffix(b, []byte("\r\n")) {
		out = append(out, "\r\n"...)
	}
	return append(out, ".\r\n"...)
}

// memory is a Content that is in memory, stored one that is not.
type memory []byte

func (m memory) Size() int64                           { return int64(len(m)) }
func (m memory) Pieces(list [][]byte) ([][]byte, bool) { return append(list, m), true }
func (m memory) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(m)
	return int64(n), err
}

type stored struct{ memory }

func (stored) Pieces([][]byte) ([][]byte, bool) { return nil, false }
func (s stored) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, io.MultiReader(bytes.NewReader(s.memory))) // hides bytes.Reader's WriteTo
}
