package core

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// TestConnectionCap: clients above the limit are refused temporarily.
func TestConnectionCap(t *testing.T) {
	n := start(t, Options{MaxConnections: 2})
	greet(t, n.smtp, "EHLO")
	second := greet(t, n.lmtp, "LHLO")
	third := dial(t, n.smtp)
	third.expect("421 ")
	third.closed()
	second.say("QUIT", "221")
	second.closed()
	kit.Eventually(t, "a connection is accepted again", func() bool {
		r, _ := dial(t, n.lmtp).reply()
		return strings.HasPrefix(r, "220")
	})
}

// TestClose checks that Close lets a transaction finish, notifies idle clients, and leaves nothing open.
func TestClose(t *testing.T) {
	n := start(t, Options{})
	idle, busy := greet(t, n.smtp, "EHLO"), greet(t, n.lmtp, "LHLO")
	busy.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<b@example.net>\r\nBDAT 3\r\nab\r")
	busy.expect("250", "250", "250")
	closed := make(chan error, 1)
	go func() { closed <- n.server.Close(context.Background()) }()
	idle.expect("421")
	idle.closed()
	busy.send("BDAT 1 LAST\r\n\n")
	busy.expect("250 2.0.0 <b@example.net> stored")
	busy.send("NOOP\r\n")
	busy.expect("421")
	busy.closed()
	if err := <-closed; err != nil {
		t.Error(err)
	}
	n.running.Wait()
	n.stopOnce.Do(func() {})
	if got := n.inbox("example.net/b"); len(got) != 1 || got[0] != "ab\r\n" {
		t.Errorf("%q", got)
	}
}

// TestCloseCuts checks that Close cuts a client that doesn't finish.
func TestCloseCuts(t *testing.T) {
	n := start(t, Options{})
	c := greet(t, n.smtp, "EHLO")
	c.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<b@example.net>\r\nBDAT 3\r\nabcBDAT 10\r\nx")
	c.expect("250", "250", "250")
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := n.server.Close(ctx); err != nil {
		t.Error(err)
	}
	n.running.Wait()
	n.stopOnce.Do(func() {})
	if got := n.inbox("example.net/b"); len(got) != 0 || n.incomingFiles() != 0 {
		t.Errorf("%q, %d on its way", got, n.incomingFiles())
	}
	if l := n.log.String(); !strings.Contains(l, "sessions cut") {
		t.Error(l)
	}
}

// TestSecondProgram: two servers can't share a store, and the second doesn't touch the messages of the first.
func TestSecondProgram(t *testing.T) {
	n := start(t, Options{})
	c := greet(t, n.smtp, "EHLO")
	c.send("MAIL FROM:<a@b.example>\r\nRCPT TO:<b@example.net>\r\nBDAT 1\r\na")
	c.expect("250", "250", "250")
	kit.Eventually(t, "one message is being stored", func() bool { return n.incomingFiles() == 1 })
	if _, err := New(Options{Dir: n.options.Dir}); err == nil {
		t.Fatal("opened twice")
	}
	c.send("BDAT 1 LAST\r\nb")
	c.expect("250 2.0.0 stored")
	if got := n.inbox("example.net/b"); len(got) != 1 || got[0] != "ab" {
		t.Errorf("%q", got)
	}
}

// TestLeftovers checks that leftovers of a killed program are removed.
func TestLeftovers(t *testing.T) {
	n := start(t, Options{})
	n.stop()
	for _, name := range []string{"1", "999"} {
		if err := os.WriteFile(filepath.Join(n.server.Dir(), incomingDir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n = n.restart(); n.incomingFiles() != 0 {
		t.Errorf("%d are left", n.incomingFiles())
	}
}

// TestBadDirectory: an obstacle in the directory is an error of New, with its path.
func TestBadDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := New(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), file) || !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("%v", err)
		}
	}
}

// TestPrivate: other users can't read mail.
func TestPrivate(t *testing.T) {
	n := start(t, Options{})
	greet(t, n.smtp, "EHLO").mustGive(transaction{to: []string{"b@example.net"}, body: "x"}, false)
	for _, dir := range []string{"", ".incoming", "example.net", "example.net/b", "example.net/b/new", "example.net/b/cur", "example.net/b/tmp"} {
		info, err := os.Stat(filepath.Join(n.server.Dir(), dir))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
}
