package anycast

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve answers connections with talk, one after the other, until the test ends. talk's connection
// is closed after ten seconds.
func serve(t *testing.T, network, address string, talk func(net.Conn)) net.Listener {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			talk(conn)
			conn.Close()
		}
	})
	t.Cleanup(func() { l.Close(); done.Wait() })
	return l
}

// script sends its first line to a client that has connected, and each other one in reply to a line
// of the client. After the last it hangs up, or waits for the client to do so.
func script(waits bool, lines ...string) func(net.Conn) {
	return func(conn net.Conn) {
		r := bufio.NewReader(conn)
		for i, line := range lines {
			if i > 0 {
				if _, err := r.ReadString('\n'); err != nil {
					return
				}
			}
			if _, err := io.WriteString(conn, line); err != nil {
				return
			}
		}
		if waits {
			_, _ = io.Copy(io.Discard, r)
		}
	}
}

// forever sends without end, until the client hangs up.
func forever(first, text string) func(net.Conn) {
	return func(conn net.Conn) {
		_, err := io.WriteString(conn, first)
		for err == nil {
			_, err = io.WriteString(conn, text)
		}
	}
}

// patience returns a short time limit if the test expects no answer.
func patience(want string) time.Duration {
	if strings.Contains(want, "timeout") {
		return 500 * time.Millisecond
	}
	return 10 * time.Second
}

func TestProbe(t *testing.T) {
	const banner, hello, bye = "220 mx.example.net ESMTP\r\n", "250-mx.example.net\r\n250-SIZE 1000\r\n250 PIPELINING\r\n", "221 bye\r\n"
	for name, test := range map[string]struct {
		talk  func(net.Conn)
		want  outcome
		error string
	}{
		"good":                 {script(true, banner, hello, bye), good, ""},
		"banner of many lines": {script(true, "220-one\r\n220-two\r\n220 three\r\n", hello, bye), good, ""},
		"bare reply":           {script(true, "220\r\n", "250\r\n", "221\r\n"), good, ""},
		"hangs up after QUIT":  {script(false, banner, hello, ""), good, ""},
		"hangs up before QUIT": {script(false, banner, hello), good, ""},
		"silent":               {script(true, ""), bad, "banner: timeout"},
		"half a banner":        {script(true, "220 mx.exam"), bad, "banner: timeout"},
		"endless banner":       {forever("220-", "x"), bad, "banner: a line of more than 1024 bytes"},
		"endless lines":        {forever("", "220-and then\r\n"), bad, "banner: a reply of more than 64 lines"},
		"hangs up at once":     {script(false), bad, "banner: the connection was closed"},
		"hangs up within":      {script(false, "220-mx.example.net\r\n"), bad, "connection closed within a reply"},
		"busy":                 {script(false, "421 4.7.0 too many connections\r\n"), busy, "banner: 421 4.7.0 too many"},
		"busy later":           {script(false, banner, "421 4.3.2 try again\r\n"), busy, "EHLO: 421 4.3.2"},
		"554":                  {script(true, "554 5.7.1 go away\r\n"), bad, "banner: 554 5.7.1 go away"},
		"another service":      {script(true, "SSH-2.0-OpenSSH_9.9\r\n"), bad, `banner: "SSH-2.0-OpenSSH_9.9\r\n" is not an SMTP reply`},
		"two codes":            {script(true, "220-mx\r\n250 mx\r\n"), bad, "banner: a reply with both 220 and 250"},
		"a code from nowhere":  {script(true, "999 mx\r\n"), bad, "is not an SMTP reply"},
		"escapes":              {script(true, "554 \x1b[2J\x00\r\n"), bad, `banner: 554 \x1b[2J\x00`},
		"refused EHLO":         {script(true, banner, "502 5.5.1 no\r\n"), bad, "EHLO: 502 5.5.1 no"},
		"silent at EHLO":       {script(true, banner, ""), bad, "EHLO: timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			l := serve(t, "tcp", "127.0.0.1:0", test.talk)
			p := probe{point: l.Addr().(*net.TCPAddr).AddrPort(), hello: "mx.example.net"}
			ctx, cancel := context.WithTimeout(t.Context(), patience(test.error))
			defer cancel()
			got, err := p.say(ctx)
			if got != test.want || (err == nil) != (test.error == "") || err != nil && !strings.Contains(err.Error(), test.error) {
				t.Errorf("%s, %v; want %s, %q", got, err, test.want, test.error)
			}
		})
	}
}

// A refused connection, and a service address that is not on the host, are bad at once, whatever
// the time limit.
func TestProbeThatCannotConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for point, want := range map[netip.AddrPort]string{
		l.Addr().(*net.TCPAddr).AddrPort():         "connect: connection refused",
		netip.MustParseAddrPort("203.0.113.77:25"): "this host does not have the service address",
	} {
		began := time.Now()
		got, err := probe{point: point, hello: "mx.example.net"}.say(t.Context())
		if got != bad || err == nil || !strings.Contains(err.Error(), want) || time.Since(began) > 5*time.Second {
			t.Errorf("%s, %v after %s", got, err, time.Since(began))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := (probe{point: l.Addr().(*net.TCPAddr).AddrPort()}).say(ctx); got != bad || err == nil {
		t.Errorf("%s, %v", got, err)
	}
}

// What the probe sends, with and without a PROXY header before it.
func TestProbeSays(t *testing.T) {
	for header, proxied := range map[string]bool{"": false, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00": true} {
		heard := make(chan string, 1)
		l := serve(t, "tcp", "127.0.0.1:0", func(conn net.Conn) {
			b := make([]byte, len(header))
			if _, err := io.ReadFull(conn, b); err != nil {
				t.Error(err)
			}
			_, _ = io.WriteString(conn, "220 mx\r\n250 mx\r\n221 bye\r\n")
			rest, _ := io.ReadAll(conn)
			heard <- string(b) + string(rest)
		})
		p := probe{point: l.Addr().(*net.TCPAddr).AddrPort(), hello: "mx.example.net", proxied: proxied}
		if got, err := p.say(t.Context()); got != good || err != nil {
			t.Errorf("%s, %v", got, err)
		}
		if got := <-heard; got != header+"EHLO mx.example.net\r\nQUIT\r\n" {
			t.Errorf("the server heard %q", got)
		}
	}
}

func TestReadyz(t *testing.T) {
	answer := func(status int, text string) func(net.Conn) {
		return func(conn net.Conn) {
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
				return
			}
			r := http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text))}
			_ = r.Write(conn)
		}
	}
	for name, test := range map[string]struct {
		talk  func(net.Conn)
		want  outcome
		error string
	}{
		"ready":     {answer(200, "ready\n"), good, ""},
		"not ready": {answer(503, "not ready: the disk is full\nand more\n"), bad, "not ready: the disk is full"},
		"bare 503":  {answer(503, ""), bad, "HTTP 503"},
		"escapes":   {answer(503, "\x1b[2J"), bad, `\x1b[2J`},
		"silent":    {script(true), bad, "answer: timeout"},
		"hangs up":  {script(false), bad, ": "},
		"no HTTP":   {script(true, "220 mx\r\n"), bad, "answer: malformed HTTP"},
		"endless":   {forever("HTTP/1.1 503 No\r\n", "X-Header: and then\r\n"), bad, "answer: "},
		"much":      {answer(503, strings.Repeat("x", 1<<20)), bad, strings.Repeat("x", maxReplyText)},
	} {
		t.Run(name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "ready")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			socket := filepath.Join(dir, "edge.sock")
			serve(t, "unix", socket, test.talk)
			ctx, cancel := context.WithTimeout(t.Context(), patience(test.error))
			defer cancel()
			a, err := askReady(ctx, socket)
			if a.outcome != test.want || (err == nil) != (test.error == "") || err != nil && !strings.Contains(err.Error(), test.error) {
				t.Errorf("%s, %v; want %s, %q", a.outcome, err, test.want, test.error)
			}
			if a.process != os.Getpid() {
				t.Errorf("process %d answers, want %d", a.process, os.Getpid())
			}
		})
	}
	if a, err := askReady(t.Context(), "/nonexistent/edge.sock"); a.outcome != bad || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s, %v", a.outcome, err)
	}
}

func TestChecksOf(t *testing.T) {
	env := testEnv(t, "")
	env.Config.Ingress.ProxyProtocolFrom = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	var names []string
	for _, c := range checksOf(env.Config) {
		names = append(names, c.name)
	}
	if got := strings.Join(names, ", "); got != "readyz, smtp 192.0.2.25:25, smtp 192.0.2.25:8025, smtp [2001:db8:25::25]:25" {
		t.Errorf("checks: %s", got)
	}
	if !proxied(env.Config, netip.MustParseAddr("192.0.2.25")) || proxied(env.Config, netip.MustParseAddr("2001:db8:25::25")) {
		t.Error("who sends a PROXY header")
	}
}

func FuzzReply(f *testing.F) {
	for _, seed := range []string{
		"220 mx.example.net ESMTP\r\n", "250-mx\r\n250-SIZE\r\n250 OK\r\n", "250\r\n", "220-a\r\n250 b\r\n", "22", "220", "999 x\r\n", "\r\n", "220_\r\n",
		strings.Repeat("220-x\r\n", 70), "220 " + strings.Repeat("x", 2000) + "\r\n", "421 \x1b[2J\x00\xff\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r := bufio.NewReaderSize(strings.NewReader(string(text)), maxReplyLine)
		got, err := readReply(r)
		if err != nil {
			return
		}
		if got.code < 200 || got.code > 599 || len(got.text) > 4*maxReplyText {
			t.Errorf("%+v", got)
		}
		for _, c := range got.String() {
			if c < ' ' || c > '~' {
				t.Errorf("%q has a character that a terminal may obey", got)
			}
		}
	})
}
