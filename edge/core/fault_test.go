package core

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// TestOneMailboxFails: in LMTP the other recipients get the message, in SMTP all wait, and no
// recipient gets it twice when it is sent again.
func TestOneMailboxFails(t *testing.T) {
	n := start(t, Options{})
	smtp, lmtp := greet(t, n.smtp, "EHLO"), greet(t, n.lmtp, "LHLO")
	blocked := filepath.Join(n.server.Dir(), "example.net", "bad")
	if err := os.MkdirAll(filepath.Dir(blocked), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	to := []string{"a@example.net", "bad@example.net", "c@example.net"}
	replies := func(c *client, ident string, lmtp bool, want ...string) {
		t.Helper()
		for i, r := range c.give(transaction{ident: ident, to: to, body: body(ident, 30_000)}, lmtp) {
			if !strings.HasPrefix(r, want[i]) {
				t.Fatalf("recipient %d: got %q, want %q", i, r, want[i])
			}
		}
	}
	count := func(a, bad, c int) {
		t.Helper()
		for i, want := range []int{a, bad, c} {
			box := "example.net/" + strings.TrimSuffix(to[i], "@example.net")
			if i == 1 && want == 0 {
				continue // not a directory
			}
			if got := len(n.files(box, "new")); got != want {
				t.Fatalf("%s has %d messages, not %d", box, got, want)
			}
		}
	}
	one, two, three := newIdent(), newIdent(), newIdent()
	replies(lmtp, one, true, "250 2.0.0", "451 4.3.0", "250 2.0.0")
	count(1, 0, 1)
	replies(lmtp, one, true, "250 2.0.0", "451 4.3.0", "250 2.0.0")
	count(1, 0, 1)
	replies(smtp, two, false, "451 4.3.0")
	replies(smtp, two, false, "451 4.3.0")
	count(2, 0, 2)
	// Without an identity the sender will repeat it for all, so it is stored for none.
	for range 3 {
		replies(smtp, "", false, "451 4.3.0")
	}
	count(2, 0, 2)
	replies(lmtp, "", true, "250 2.0.0", "451 4.3.0", "250 2.0.0")
	count(3, 0, 3)

	remove(t, blocked)
	replies(lmtp, one, true, "250 2.0.0", "250 2.0.0", "250 2.0.0")
	replies(smtp, two, false, "250 2.0.0")
	replies(smtp, three, false, "250 2.0.0")
	replies(smtp, "", false, "250 2.0.0")
	count(5, 4, 5)
	if n.incomingFiles() != 0 {
		t.Error("something is left on its way")
	}
}

// TestMailboxRemoved: an operator may remove a mailbox, or a whole domain, that the running server
// has created.
func TestMailboxRemoved(t *testing.T) {
	n := start(t, Options{})
	c := greet(t, n.smtp, "EHLO")
	for i, gone := range []string{"example.net/b", "example.net", "example.net/b/new"} {
		to := []string{"b@example.net", "c@example.net"}
		c.mustGive(transaction{ident: newIdent(), to: to, body: "x"}, false)
		if err := os.RemoveAll(filepath.Join(n.server.Dir(), gone)); err != nil {
			t.Fatal(err)
		}
		c.mustGive(transaction{ident: newIdent(), to: to, body: "y"}, false)
		if got := n.inbox("example.net/b"); len(got) != 1 || got[0] != "y" {
			t.Errorf("step %d: %q", i, got)
		}
		if err := os.RemoveAll(filepath.Join(n.server.Dir(), "example.net")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMadeIsBounded: the set of known mailboxes is cleared when it is full.
func TestMadeIsBounded(t *testing.T) {
	m := &maildirs{made: make(map[string]struct{})}
	for i := range maxMade + 10 {
		m.remember(fmt.Sprint(i))
	}
	if len(m.made) > maxMade || len(m.unknown([]string{"0", fmt.Sprint(maxMade + 9)})) != 1 {
		t.Errorf("%d are remembered", len(m.made))
	}
}

// mount mounts a small file system at a new directory.
func mount(t *testing.T, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: mounts a tmpfs")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("can't mount a tmpfs here:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
	})
	return dir
}

// TestReadOnly: a read-only store refuses temporarily, reads every message to its end, and works
// again once it is writable.
func TestReadOnly(t *testing.T) {
	dir := mount(t, "size=64m")
	// Only mail/ becomes read-only, as if it were a disk of its own.
	n := start(t, Options{Dir: filepath.Join(dir, "store")})
	smtp, lmtp := greet(t, n.smtp, "EHLO"), greet(t, n.lmtp, "LHLO")
	to := []string{"a@example.net", "b@example.net"}
	smtp.mustGive(transaction{ident: newIdent(), to: to, body: "x"}, false)
	mail := n.server.Dir()
	if err := unix.Mount(mail, mail, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(mail, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	if err := unix.Mount("", mail, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1, 300_000} {
		if r := smtp.give(transaction{ident: newIdent(), to: to, body: body("x", size)}, false); !strings.HasPrefix(r[0], "451 4.3.0") {
			t.Errorf("got %q", r)
		}
		for _, r := range lmtp.give(transaction{ident: newIdent(), to: to, body: body("x", size)}, true) {
			if !strings.HasPrefix(r, "451 4.3.0") {
				t.Errorf("got %q", r)
			}
		}
		// The refusal comes after the end of DATA, not before.
		lmtp.say("MAIL FROM:<a@b.example>", "250")
		lmtp.say("RCPT TO:<a@example.net>", "250")
		lmtp.say("DATA", "354")
		lmtp.send(body("x", size) + ".\r\n")
		lmtp.expect("451 4.3.0")
		lmtp.say("NOOP", "250")
	}
	if err := unix.Mount("", mail, "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	smtp.mustGive(transaction{ident: newIdent(), to: to, body: "x"}, false)
}

// TestDiskFull: a full disk is reported at MAIL, and a message that fills it is refused. The
// reserve keeps the ledger working.
func TestDiskFull(t *testing.T) {
	dir := mount(t, "size=48m")
	n := start(t, Options{Dir: filepath.Join(dir, "store"), DiskReserve: 16 << 20})
	smtp, lmtp := greet(t, n.smtp, "EHLO"), greet(t, n.lmtp, "LHLO")
	to := []string{"a@example.net", "b@example.net"}
	give := func(c *client, size int, isLMTP bool, want string) {
		t.Helper()
		for _, r := range c.give(transaction{ident: newIdent(), to: to, body: body("x", size)}, isLMTP) {
			if !strings.HasPrefix(r, want) {
				t.Fatalf("got %q, want %q", r, want)
			}
		}
	}
	give(smtp, 1000, false, "250 2.0.0")
	give(smtp, 60<<20, false, "452 4.3.1")
	give(lmtp, 60<<20, true, "452 4.3.1")
	give(smtp, 36<<20, false, "452 4.3.1") // it would fit without the reserve
	give(lmtp, 1000, true, "250 2.0.0")
	smtp.say("MAIL FROM:<a@b.example> SIZE=40000000", "452 4.3.1 ")

	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 30<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	smtp.say("MAIL FROM:<a@b.example>", "452 4.3.1 ")
	lmtp.say("MAIL FROM:<a@b.example>", "452 4.3.1 ")
	// All in one write: the server discards what follows the refusal.
	smtp.send(transaction{to: to, body: body("x", 10_000)}.text() + "NOOP\r\n")
	smtp.expect("452", "502", "502", "502", "250")
	remove(t, filler)
	give(smtp, 1000, false, "250 2.0.0")
	if err := n.server.store.ledger.err(); err != nil {
		t.Error(err)
	}
}

// TestDiskQuiteFull: without a reserve the disk is also full for the ledger. All replies are
// success or a temporary failure; and after a restart with free space all acknowledged messages are
// there.
func TestDiskQuiteFull(t *testing.T) {
	dir := mount(t, "size=24m")
	n := start(t, Options{Dir: filepath.Join(dir, "store"), DiskReserve: 1})
	var promised []string
	ended := false
	for i := 0; i < 200 && !ended; i++ {
		c := greet(t, n.smtp, "EHLO")
		ident := newIdent()
		c.send(transaction{ident: ident, to: []string{fmt.Sprintf("b%d@example.net", i)}, body: body(ident, 400_000)}.text())
		c.expect("250")
		from, err := c.reply()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(from, "250") {
			if ended = strings.HasPrefix(from, "45"); !ended {
				t.Fatalf("got %q", from)
			}
			break
		}
		c.expect("250")
		r, err := c.reply()
		switch {
		case err != nil:
			t.Fatal(err)
		case strings.HasPrefix(r, "250"):
			promised = append(promised, ident)
		case strings.HasPrefix(r, "45"):
			ended = true
		default:
			t.Fatalf("got %q", r)
		}
	}
	if !ended || len(promised) < 10 {
		t.Fatalf("the disk did not fill: %d messages", len(promised))
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	n = n.restart()
	for i, ident := range promised {
		if got := n.inbox(fmt.Sprintf("example.net/b%d", i)); len(got) != 1 || got[0] != body(ident, 400_000) {
			t.Fatalf("message %d of %d is not there", i, len(promised))
		}
	}
}

// TestFaultsUnderLoad mixes everything on many connections at once, for the race detector and for
// the counts: good mail, and mail that is cut off, too big, malformed or refused by one mailbox,
// over SMTP and LMTP.
func TestFaultsUnderLoad(t *testing.T) {
	n := start(t, Options{MaxMessage: 100_000})
	if err := os.MkdirAll(filepath.Join(n.server.Dir(), "example.net"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.server.Dir(), "example.net", "bad"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var good atomic.Int64
	var running sync.WaitGroup
	for k := range 16 {
		running.Go(func() {
			addr, hello, lmtp := n.smtp, "EHLO", false
			if k%2 == 1 {
				addr, hello, lmtp = n.lmtp, "LHLO", true
			}
			c := greet(t, addr, hello)
			to := []string{"a@example.net", fmt.Sprintf("k%d@example.net", k)}
			for i := range 24 {
				l := transaction{ident: newIdent(), to: to, body: body("x", 20_000)}
				switch i % 6 {
				case 0, 1:
					good.Add(1)
					c.mustGive(l, lmtp)
				case 2:
					l.body = body("big", 150_000)
					for _, r := range c.give(l, lmtp) {
						if !strings.HasPrefix(r, "552") {
							t.Errorf("got %q", r)
						}
					}
				case 3:
					l.to = append(l.to[:1:1], "bad@example.net")
					good.Add(1)
					if r := c.give(l, lmtp); !strings.HasPrefix(r[len(r)-1], "451") {
						t.Errorf("got %q", r)
					}
				case 4:
					l.body = "a\nb"
					for _, r := range c.give(l, lmtp) {
						if !strings.HasPrefix(r, "554") {
							t.Errorf("got %q", r)
						}
					}
				case 5:
					c.send(strings.TrimSuffix(l.text(), "x\r\n"))
					_ = c.conn.Close()
					c = greet(t, addr, hello)
				}
			}
		})
	}
	running.Wait()
	if got := len(n.files("example.net/a", "new")); got != int(good.Load()) {
		t.Errorf("%d messages, want %d", got, good.Load())
	}
	kit.Eventually(t, "no message is being stored", func() bool { return n.incomingFiles() == 0 })
}

// TestBigMessage checks that the memory for a message doesn't grow with its size.
func TestBigMessage(t *testing.T) {
	n := start(t, Options{})
	c := greet(t, n.smtp, "EHLO")
	big := transaction{ident: newIdent(), to: []string{"b@example.net"}, body: body("big", 40<<20)}
	text := []byte(big.text()) // before the count
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := c.conn.Write(text); err != nil {
		t.Fatal(err)
	}
	c.expect("250", "250", "250", "250 2.0.0 stored")
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d bytes were allocated for a message of %d", grown, len(big.body))
	}
	if got := n.inbox("example.net/b"); len(got) != 1 || got[0] != big.body {
		t.Error("it is not what was sent")
	}
}
