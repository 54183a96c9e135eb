package image

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"anymx/tests/lab"
	"anymx/tests/vm/rack"
)

// The mail program knows the memory limit of its unit (control groups of version 2), and a node with
// less than 400 MiB for it lives, stays in service and takes good mail while strangers hold as much of
// that as they can: by 134 transactions of 500 recipients with the longest legal ORCPT, and by 1,000
// messages that stop.
func TestMemoryAttack(t *testing.T) {
	s := place(t, "", func(o *rack.Options, _ *lab.Lab) {
		const file = "anymx.toml"
		caps := regexp.MustCompile(`(?m)^max_connections_per_prefix = \d+$`)
		text := caps.ReplaceAllString(o.Config[file], "max_connections_per_prefix = 5000\nmax_connections_share = 100\nmax_errors = 1000")
		if text == o.Config[file] {
			t.Fatalf("no cap of connections in\n%s", text)
		}
		o.Config[file] = text
		o.Machine.Memory = 550 // the unit may use 80% of what the kernel leaves of it: close to 400 MiB
	})
	s.on()
	s.run("log edge -n 40", `memory is limited.*cgroup_bytes=(3[89]|4[01])\d{7} `)
	witness := s.attacker("RSET\r\n")

	var recipients strings.Builder
	recipients.WriteString("MAIL FROM:<a@b.example>\r\n")
	for i := range 500 {
		fmt.Fprintf(&recipients, "RCPT TO:<user%d@example.net> ORCPT=rfc822;%s\r\n", i, strings.Repeat("x", 493))
	}
	slow := "MAIL FROM:<a@b.example>\r\nRCPT TO:<a@example.net>\r\nBDAT 10000000\r\n" +
		"Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", 1200)
	load := s.lab.Send(t.Context(), lab.Load{Sessions: 2, Each: 1, Recipient: "attacked", Pause: 100 * time.Millisecond})
	for range 134 {
		s.attacker(recipients.String())
	}
	for range 1000 {
		s.attacker(slow)
	}
	must(t, load.AwaitMore(t.Context(), 20, 3*time.Minute))
	ledger, err := load.Stop()
	must(t, err)
	s.settled(ledger, "attacked")
	s.run("status", `Phase +running`)
	if _, err := io.WriteString(witness, "QUIT\r\n"); err != nil {
		t.Fatalf("the mail program has ended: %v", err)
	}
	for r := bufio.NewReader(witness); ; { // of RSET and of QUIT
		line, err := r.ReadString('\n')
		must(t, err)
		if strings.HasPrefix(line, "221") {
			break
		}
	}
}

// attacker opens a connection that sends text after the reply to its EHLO, and stays.
func (s *site) attacker(text string) net.Conn {
	s.t.Helper()
	conn, err := s.lab.ClientA.Dial(s.t.Context(), "tcp", net.JoinHostPort(lab.Service4, "25"))
	must(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	must(s.t, conn.SetDeadline(time.Now().Add(5*time.Minute)))
	replies := bufio.NewReader(conn)
	for _, command := range []string{"EHLO a.example\r\n", text} {
		line := "-"
		for len(line) < 4 || line[3] != ' ' {
			line, err = replies.ReadString('\n')
			must(s.t, err)
		}
		if line[0] != '2' {
			s.t.Fatalf("refused: %s", line)
		}
		go func() { _, _ = io.WriteString(conn, command) }() // it may be cut off, or read slowly
	}
	return conn
}
