package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A session in groups: the client reads the replies to one before it sends the
// next.
type group struct {
	text    string
	replies int  // final lines of replies
	stores  bool // a message is complete with its last octet
}

const wholeBody = "Subject: hi\r\n\r\nall of it\r\n"

var plainSession = []group{
	{"", 1, false},
	{"EHLO c.test\r\n", 1, false},
	{"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n", 3, false},
	{wholeBody + ".\r\n", 1, true},
	{"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\nDATA\r\n", 3, false},
	{wholeBody + ".\r\n", 1, true},
	{"QUIT\r\n", 1, false},
}

var chunkSession = []group{
	{"", 1, false},
	{"EHLO c.test\r\n", 1, false},
	{"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\nBDAT 12\r\n" + wholeBody[:12], 3, false},
	{"BDAT 14 LAST\r\n" + wholeBody[12:], 1, true},
	{"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\nBDAT 26\r\n" + wholeBody, 3, false},
	{"BDAT 0 LAST\r\n", 1, true},
	{"QUIT\r\n", 1, false},
}

// TestDisconnect ends whole sessions at every octet, politely and by a reset:
// a message is delivered whole or not at all, and nothing stays behind.
func TestDisconnect(t *testing.T) {
	for name, session := range map[string][]group{"DATA": plainSession, "BDAT": chunkSession} {
		for _, reset := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " reset"}[reset], func(t *testing.T) {
				t.Parallel()
				s := newStage(t, dialogueSettings())
				length := 0
				for _, g := range session {
					length += len(g.text)
				}
				for n := range length + 1 {
					complete := cutSession(t, s.front.address, session, n, reset)
					s.settled(0)
					got := 0
					for d, ok := s.next(); ok; d, ok = s.next() {
						got++
						if string(d) != wholeBody {
							t.Fatalf("cut at %d: stored %q", n, d)
						}
					}
					// A reset may overtake the last octets.
					if got != complete && (!reset || got != complete-1) {
						t.Fatalf("cut at %d: %d messages stored, %d were complete", n, got, complete)
					}
				}
			})
		}
	}
}

// cutSession plays the first n octets, closes, and returns how many messages
// were complete by then.
func cutSession(t *testing.T, addr string, session []group, n int, reset bool) (complete int) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if reset {
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	r := bufio.NewReader(conn)
	for _, g := range session {
		text := g.text[:min(n, len(g.text))]
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		if n -= len(text); n < 0 || len(text) < len(g.text) {
			return complete
		}
		if g.stores {
			complete++
		}
		if n == 0 {
			return complete // without having read the replies
		}
		readReplies(t, r, g.replies)
	}
	return complete
}

// closing is a client that has said something when the service closes.
type closing struct {
	send    string
	replies int
	end     string // what it is told then; "" if it has to be cut
}

// TestClose closes the service with a client in each state.
func TestClose(t *testing.T) {
	const transaction = "EHLO c.test\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"
	tests := map[string]closing{
		"after the banner":       {"", 1, "421 4.3.2"},
		"after EHLO":             {"EHLO c.test\r\n", 2, "421 4.3.2"},
		"within a command":       {"EHLO c.test\r\nMAIL FR", 2, "421 4.3.2"},
		"in a transaction":       {transaction, 4, ""},
		"within a message":       {transaction + "DATA\r\n", 5, ""},
		"between chunks":         {transaction + "BDAT 3\r\nx\r\n", 5, ""},
		"within a chunk":         {transaction + "BDAT 300\r\nx\r\n", 4, ""},
		"within a refused chunk": {"EHLO c.test\r\nBDAT 300\r\nx\r\n", 2, ""},
		"within a handshake":     {"STARTTLS\r\n", 2, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { t.Parallel(); closeWith(t, test) })
	}
}

func closeWith(t *testing.T, test closing) {
	set := dialogueSettings()
	set.Wire.TLS = tlsConfig(t)
	s := newStage(t, set)
	conn, err := net.Dial("tcp", s.front.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(conn)
	if _, err := io.WriteString(conn, test.send); err != nil {
		t.Fatal(err)
	}
	readReplies(t, r, test.replies)
	grace := 10 * time.Second
	if test.end == "" {
		grace = 50 * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	go func() { // a client reads what it is told, and goes
		line, _ := r.ReadString('\n')
		if !strings.HasPrefix(line, test.end) {
			t.Errorf("told %q", line)
		}
		if test.end != "" {
			_ = conn.Close()
		}
	}()
	cut := s.server.Registry().Close(ctx)
	if want := map[bool]int{true: 1}[test.end == ""]; cut != want {
		t.Errorf("%d connections were cut, not %d", cut, want)
	}
	if n := s.server.Registry().Open(); n != 0 {
		t.Errorf("%d are still open", n)
	}
	if d, ok := s.next(); ok {
		t.Errorf("stored %q", d)
	}
	if again := s.server.Registry().Close(context.Background()); again != 0 {
		t.Errorf("the second Close cut %d", again)
	}
}

// TestCloseTLS tells a client under TLS too.
func TestCloseTLS(t *testing.T) {
	set := dialogueSettings()
	set.Wire.TLS = tlsConfig(t)
	s := newStage(t, set)
	conn := dialTLS(t, s.front.address)
	defer conn.Close()
	done := make(chan string)
	go func() {
		line, _ := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		done <- line
	}()
	if cut := s.server.Registry().Close(t.Context()); cut != 0 {
		t.Errorf("%d were cut", cut)
	}
	if line := <-done; !strings.HasPrefix(line, "421 4.3.2 ") {
		t.Errorf("told %q", line)
	}
}

// dialTLS connects, upgrades and says EHLO.
func dialTLS(t testing.TB, addr string) *tls.Conn {
	t.Helper()
	plain, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = plain.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(plain, "STARTTLS\r\n"); err != nil {
		t.Fatal(err)
	}
	readReplies(t, bufio.NewReader(plain), 2)
	conn := tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
	if _, err := io.WriteString(conn, "EHLO c.test\r\n"); err != nil {
		t.Fatal(err)
	}
	readReplies(t, bufio.NewReader(conn), 1)
	return conn
}
