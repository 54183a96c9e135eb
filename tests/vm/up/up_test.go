package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestOrders(t *testing.T) {
	// Longer than the path of a socket may be.
	state := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := order(t.Context(), state, "send"); !errors.Is(err, errNone) {
		t.Errorf("an order to nobody: %v", err)
	}
	l, err := listen(state)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listen(state); err == nil {
		t.Error("two programs listen")
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		take(ctx, l, func(_ context.Context, command string, out io.Writer) error {
			fmt.Fprintf(out, "doing %s\n", command)
			if command == "fail" {
				return errors.New("as wanted\nand more")
			}
			return nil
		}, func(_ context.Context, conn net.Conn) {
			_, _ = io.Copy(conn, conn)
		})
	}()
	if err := order(t.Context(), state, "send"); err != nil {
		t.Error(err)
	}
	if err := order(t.Context(), state, "fail"); err == nil || err.Error() != "as wanted; and more" {
		t.Errorf("an order that fails: %v", err)
	}
	conn, err := dial(state)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "console\nechoed\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := bufio.NewReader(conn).ReadString('\n'); err != nil || text != "echoed\n" {
		t.Errorf("the console says %q, %v", text, err)
	}
	cancel() // with a console open
	<-done
	_ = conn.Close()
	// A killed program leaves its socket.
	again, err := listen(state)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
}

func TestConverse(t *testing.T) {
	for _, test := range []struct{ replies, want string }{
		{"220 mx ESMTP|250-mx|250 PIPELINING|250 ok|250 ok|354 go|250 2.0.0 stored|", "250 2.0.0 stored"},
		{"220 mx ESMTP|250 mx|451 4.3.1 not now|", ""},
		{"421 leaving|", ""},
		{"220 mx|", ""},
	} {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			r := bufio.NewReader(far)
			data := false
			for reply := range strings.SplitSeq(strings.TrimSuffix(test.replies, "|"), "|") {
				if _, err := far.Write([]byte(reply + "\r\n")); err != nil {
					return
				}
				if len(reply) > 3 && reply[3] == '-' {
					continue
				}
				for { // a command, or the message
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if !data || line == ".\r\n" {
						data = line == "DATA\r\n"
						break
					}
				}
			}
		}()
		got, err := converse(near, letter("x"), func(string) {})
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s: %q, %v", test.replies, got, err)
		}
		_ = near.Close()
	}
}

func TestFind(t *testing.T) {
	box := t.TempDir()
	if _, err := find(t.Context(), box, "x", 10*time.Millisecond); err == nil {
		t.Error("there is a message in an empty mailbox")
	}
	if err := os.Mkdir(filepath.Join(box, "new"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if err := os.WriteFile(filepath.Join(box, "new", fmt.Sprint(i)), []byte("Received: by core\r\n"+letter(fmt.Sprintf("letter %d", i))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, err := find(t.Context(), box, "letter 1", time.Second)
	if err != nil || filepath.Base(file) != "1" {
		t.Fatalf("%s, %v", file, err)
	}
	if head := headers(file); head != "Received: by core\nFrom: a@example.com\nTo: b@example.net\nSubject: letter 1" {
		t.Errorf("%q", head)
	}
}
