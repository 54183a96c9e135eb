package core

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/edge/mail"
)

const hostname = "core.test"

// node is a server under test on loopback.
type node struct {
	t          testing.TB
	options    Options
	server     *Server
	smtp, lmtp string // addresses
	log        *lines
	running    sync.WaitGroup
	stopOnce   sync.Once
}

// start runs a server that ends with the test. It gets a new Dir if o has none.
func start(t testing.TB, o Options) *node {
	t.Helper()
	n := &node{t: t, log: &lines{}}
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "store")
	}
	if o.Hostname == "" {
		o.Hostname = hostname
	}
	if o.DiskReserve == 0 {
		o.DiskReserve = 1
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(n.log, nil))
	}
	n.options = o
	var err error
	if n.server, err = New(o); err != nil {
		t.Fatal(err)
	}
	listen := func(lmtp bool) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		n.running.Go(func() {
			if err := n.server.Serve(l, lmtp); err != nil {
				t.Error(err)
			}
		})
		return l.Addr().String()
	}
	n.smtp, n.lmtp = listen(false), listen(true)
	t.Cleanup(n.stop)
	return n
}

// stop ends the server, once.
func (n *node) stop() {
	n.stopOnce.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := n.server.Close(ctx); err != nil && n.server.store.ledger.err() == nil {
			n.t.Error(err)
		}
		n.running.Wait()
	})
}

// restart returns a second server on the same store.
func (n *node) restart() *node {
	n.stop()
	return start(n.t, n.options)
}

// files returns the paths in one directory of a mailbox, sorted.
func (n *node) files(box, sub string) []string {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.server.Dir(), box, sub))
	if err != nil && !os.IsNotExist(err) {
		n.t.Fatal(err)
	}
	var paths []string
	for _, e := range entries {
		paths = append(paths, filepath.Join(n.server.Dir(), box, sub, e.Name()))
	}
	return paths
}

// trace matches the trace fields at the start of a stored message.
var trace = regexp.MustCompile(`^Return-Path: <[^>\r\n]*>\r\nReceived: from [^\n]*(?:\r\n\t[^\n]*)*; ?(?:\r\n\t)?[A-Z][a-z]{2}, [^\n]* \+0000\r\n`)

// content returns a stored message without its trace.
func content(t testing.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head := trace.Find(data)
	if head == nil {
		t.Fatalf("%s begins with no trace: %.300q", file, data)
	}
	return string(data[len(head):])
}

// inbox returns what a mailbox has in new/, without trace, sorted by file name.
func (n *node) inbox(box string) []string {
	n.t.Helper()
	var all []string
	for _, file := range n.files(box, "new") {
		all = append(all, content(n.t, file))
	}
	return all
}

// boxes returns all mailboxes, and fails if there is anything else.
func (n *node) boxes() []string {
	n.t.Helper()
	var all []string
	domains, err := os.ReadDir(n.server.Dir())
	if err != nil {
		n.t.Fatal(err)
	}
	for _, d := range domains {
		below, err := os.ReadDir(filepath.Join(n.server.Dir(), d.Name()))
		if err != nil {
			n.t.Fatal(err)
		}
		for _, b := range below {
			if d.Name() != incomingDir {
				all = append(all, d.Name()+"/"+b.Name())
			}
		}
	}
	return all
}

// incomingFiles returns how many files are in .incoming.
func (n *node) incomingFiles() int {
	n.t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.server.Dir(), incomingDir))
	if err != nil {
		n.t.Fatal(err)
	}
	return len(entries)
}

// client is a raw client of a server.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func dial(t testing.TB, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
}

// greet connects, reads the greeting and sends EHLO or LHLO.
func greet(t testing.TB, addr, hello string) *client {
	t.Helper()
	c := dial(t, addr)
	c.expect("220")
	c.say(hello+" edge.test", "250")
	return c
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// reply reads one reply, all its lines.
func (c *client) reply() (string, error) {
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		all.WriteString(line)
		if err != nil {
			return all.String(), err
		}
		if len(line) < 4 || line[3] != '-' {
			return all.String(), nil
		}
	}
}

// expect reads replies that begin with want.
func (c *client) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		got, err := c.reply()
		if err != nil || !strings.HasPrefix(got, w) {
			c.t.Fatalf("got %q, %v; want %q", got, err, w)
		}
	}
}

// say sends a line and expects a reply.
func (c *client) say(line, want string) {
	c.t.Helper()
	c.send(line + "\r\n")
	c.expect(want)
}

// transaction is one transaction as an edge sends it.
type transaction struct {
	ident string
	from  string
	to    []string
	body  string
}

// text returns the whole transaction in one write: XFORWARD, MAIL, RCPTs, BDAT.
func (l transaction) text() string {
	var b strings.Builder
	if l.ident != "" {
		fmt.Fprintf(&b, "XFORWARD ADDR=192.0.2.1 IDENT=%s\r\n", l.ident)
	}
	from := l.from
	if from == "" {
		from = "a@sender.example"
	}
	fmt.Fprintf(&b, "MAIL FROM:<%s>\r\n", from)
	for _, to := range l.to {
		fmt.Fprintf(&b, "RCPT TO:<%s>\r\n", to)
	}
	fmt.Fprintf(&b, "BDAT %d LAST\r\n%s", len(l.body), l.body)
	return b.String()
}

// give sends l and returns the replies to its message: one in SMTP, one for each recipient in LMTP.
func (c *client) give(l transaction, lmtp bool) []string {
	c.t.Helper()
	c.send(l.text())
	before := 1 + len(l.to)
	if l.ident != "" {
		before++
	}
	for range before {
		c.expect("250")
	}
	final := 1
	if lmtp {
		final = len(l.to)
	}
	var replies []string
	for range final {
		r, err := c.reply()
		if err != nil {
			c.t.Fatal(err)
		}
		replies = append(replies, strings.TrimSuffix(r, "\r\n"))
	}
	return replies
}

// mustGive fails unless all replies are 250.
func (c *client) mustGive(l transaction, lmtp bool) {
	c.t.Helper()
	for _, r := range c.give(l, lmtp) {
		if !strings.HasPrefix(r, "250 2.0.0 ") {
			c.t.Fatalf("got %q", r)
		}
	}
}

// closed expects the server to close.
func (c *client) closed() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Fatalf("not closed: %q, %v", rest, err)
	}
}

var testIDs = mail.NewIDs(0xfeed)

// newIdent returns the identity of a message that arrived at node ams1 just now.
func newIdent() string { return testIDs.Next(time.Now()).String() + ".ams1" }

// body returns a message of n bytes in lines, made unique by tag.
func body(tag string, n int) string {
	head := "Subject: " + tag + "\r\n\r\n"
	line := strings.Repeat("x", 76) + "\r\n"
	text := head + strings.Repeat(line, max(0, n-len(head))/len(line))
	return text
}

// lines is a log in memory.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func remove(t testing.TB, file string) {
	t.Helper()
	if err := os.Remove(file); err != nil {
		t.Error(err)
	}
}
