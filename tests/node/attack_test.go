package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// attacker is one of the connections of an attack. It reads whatever it is told.
func attacker(t *testing.T, address string, n int, text string) {
	t.Helper()
	from := net.IPv4(127, byte(10+n/200), byte(n%200), 1)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: kit.Patience}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	_, _ = io.WriteString(conn, text) // it may be cut off
}

// A node in 400 MiB of memory lives, stays ready and takes good mail while strangers hold as much of
// its memory as they can: by 134 transactions of 500 recipients with the longest legal ORCPT, and by
// 1,000 messages that stop after 120 KiB.
func TestMemoryAttack(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root for a memory cgroup")
	}
	p := pop.Start(t, pop.Options{Memory: 400 << 20, Ingress: "max_connections_share = 100\nmax_errors = 1000\n"})
	var rcpts strings.Builder
	rcpts.WriteString("EHLO a.example\r\nMAIL FROM:<a@b.example>\r\n")
	for i := range 500 {
		fmt.Fprintf(&rcpts, "RCPT TO:<user%d@example.net> ORCPT=rfc822;%s\r\n", i, strings.Repeat("x", 490))
	}
	slow := "EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<a@example.net>\r\nBDAT 10000000\r\n" +
		"Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", 1200)
	var all sync.WaitGroup
	for i := range 134 {
		all.Go(func() { attacker(t, p.SMTP, i, rcpts.String()) })
	}
	for i := range 1000 {
		all.Go(func() { attacker(t, p.SMTP, 200+i, slow) })
	}
	good := 0
	attacked := make(chan struct{})
	go func() { all.Wait(); close(attacked) }()
	for over := false; !over || good < 20; {
		select {
		case <-attacked:
			over = true
		default:
		}
		if deliver(t, p.SMTP) {
			good++
		}
		if !p.Edge().Running() {
			t.Fatal("the edge has died")
		}
		status, err := p.Control().Status(t.Context())
		if err != nil || !status.Ready.OK {
			t.Fatalf("not ready: %+v, %v", status.Ready, err)
		}
	}
	p.AwaitEmpty(time.Minute)
	kit.Eventually(t, "core has the good mail", func() bool { return len(arrived(t, p, "good")) >= good })
}

// deliver sends a message, and reports whether it was taken: it may be told to come again.
func deliver(t *testing.T, address string) bool {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 200, 0, 1)}, Timeout: kit.Patience}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(kit.Patience))
	r := bufio.NewReader(conn)
	for _, line := range []string{"", "EHLO good.example", "MAIL FROM:<good@good.example>", "RCPT TO:<good@example.net>", "BDAT 3 LAST\r\nx"} {
		if line != "" {
			if _, err := io.WriteString(conn, line+"\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		for {
			reply, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if reply[0] == '4' {
				t.Logf("%q: %s", line, reply)
				return false
			}
			if reply[0] != '2' {
				t.Fatalf("%q: %s", line, reply)
			}
			if reply[3] == ' ' {
				break
			}
		}
	}
	return true
}
