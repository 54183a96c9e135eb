package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"anymx/tests/pop"
)

// TestPostfixToPostfix is the whole way: Postfix, the edge, and Postfix as core.
// Core learns who the client was, and DSN parameters reach it.
func TestPostfixToPostfix(t *testing.T) {
	t.Parallel()
	core := &postfix{hostname: "core.test", users: []string{"b@example.net", "c@example.net", "ü@example.net", "a@example.org"}}
	core.start(t)
	p := pop.Start(t, pop.Options{Core: core.addr})
	s := newSender(t, p.SMTP, "")

	sent := letter("whole way", dots)
	s.submit(t, sent, "b@example.net", "ü@example.net")
	for _, address := range []string{"b@example.net", "ü@example.net"} {
		got := mailbox(t, core.mailbox(address), 1)[0]
		received := got.received(t, sent)
		if len(received) != 3 {
			t.Fatalf("trace %q", received)
		}
		for i, host := range []string{"core.test", "mx.example.net", "sender.test"} {
			if !strings.Contains(received[i], "by "+host+" (") {
				t.Errorf("%q is not by %s", received[i], host)
			}
		}
	}
	core.logged(t, "smtpd", "orig_queue_id="+s.sent(t, "b@example.net"), "orig_client=unknown[127.0.0.9]")

	s.submit(t, sent, "-N", "success,failure", "-V", "QQ314159", "c@example.net", "gone@example.net")
	mailbox(t, core.mailbox("c@example.net"), 1)[0].trace(t, sent)
	for _, r := range reports(t, core.mailbox("a@example.org"), 2) {
		says(t, r.message, map[string]string{"Original-Envelope-Id": "QQ314159"})
		if strings.Contains(r.message.Get("Reporting-Mta"), "core.test") {
			says(t, r.about(t, "c@example.net"), map[string]string{"Action": "deliver", "Original-Recipient": "c@example.net"})
			continue
		}
		says(t, r.message, map[string]string{"Reporting-Mta": "dns; mx.example.net"})
		says(t, r.about(t, "gone@example.net"), map[string]string{
			"Action": "failed", "Status": "5.1.1", "Original-Recipient": "rfc822; gone@example.net", "Diagnostic-Code": "smtp; 550 5.1.1 ",
		})
	}
	p.AwaitEmpty(patience)
	if files := filesIn(t, s.returned()); len(files) > 0 {
		t.Errorf("Postfix has notified of what it had handed on: %v", files)
	}
}

// TestProxyToPostfix: the address that a balancer tells is what core sees.
func TestProxyToPostfix(t *testing.T) {
	t.Parallel()
	need(t, "swaks")
	// Connections are kept, so that all messages to a core go over one.
	tests := []struct {
		protocols string   // that core knows
		sources   []string // of the messages
		seen      []string // by core; "": it does not take such an address
	}{
		{"all", []string{"192.0.2.9", "2001:db8::9"}, []string{"192.0.2.9", "2001:db8::9"}},
		{"ipv4", []string{"192.0.2.9", "2001:db8::9", "192.0.2.10"}, []string{"192.0.2.9", "", "192.0.2.10"}},
	}
	for _, test := range tests {
		t.Run(test.protocols, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat("/proc/net/if_inet6"); err != nil && test.protocols == "all" {
				t.Skip("no IPv6 here: ", err)
			}
			core := &postfix{
				hostname: "core.test", users: []string{"b@example.net"},
				settings: map[string]string{"inet_protocols": test.protocols},
			}
			core.start(t)
			p := pop.Start(t, pop.Options{Core: core.addr, Ingress: "proxy_protocol_from = [\"127.0.0.2/32\"]\n"})
			for i, source := range test.sources {
				family := "AF_INET"
				if strings.Contains(source, ":") {
					family = "AF_INET6"
				}
				out, err := swaks(t, p.SMTP, letter("proxy", dots), "--to", "b@example.net", "--local-interface", "127.0.0.2",
					"--proxy-version", "2", "--proxy-family", family, "--proxy-source", source, "--proxy-source-port", "4711",
					"--proxy-dest", source, "--proxy-dest-port", "25")
				if err != nil {
					t.Fatalf("%v:\n%s", err, out)
				}
				mailbox(t, core.mailbox("b@example.net"), i+1)
				if test.seen[i] != "" {
					core.logged(t, "smtpd", "orig_queue_id="+spoolID(t, out), "orig_client=unknown["+test.seen[i]+"]")
				}
			}
		})
	}
}

// TestPostfixToDovecot is the whole way with LMTP at its end, where each
// recipient has a result of its own: what fails after our 250 comes back to the
// sender, what is put off is tried again, and what is delivered is delivered
// once. Core is where notifications go too.
func TestPostfixToDovecot(t *testing.T) {
	t.Parallel()
	d := &dovecot{quota: 500, users: []string{
		"b@example.net", "c@example.net", "d@example.net", "full@example.net", "late@example.net", "a@example.org",
	}}
	d.start(t)
	p := pop.Start(t, pop.Options{
		Core: d.addr, CoreConfig: "protocol = \"lmtp\"\n", Config: "[queue]\nretry = [\"1s\"]\njitter = 0\ndelay_notice = \"1s\"\n",
	})
	s := newSender(t, p.SMTP, "")
	told := 0 // notifications so far
	notified := func(address string, want map[string]string) {
		t.Helper()
		told++
		for _, r := range reports(t, d.mailbox("a@example.org"), told) {
			says(t, r.message, map[string]string{"Reporting-Mta": "dns; mx.example.net"})
			if strings.HasSuffix(r.recipients[0].Get("Final-Recipient"), address) {
				says(t, r.about(t, address), want)
				return
			}
		}
		t.Errorf("no notification about %s", address)
	}

	sent := letter("unknown", dots)
	s.submit(t, sent, "b@example.net", "gone@example.net")
	mailbox(t, d.mailbox("b@example.net"), 1)[0].trace(t, sent)
	notified("gone@example.net", map[string]string{"Action": "failed", "Status": "5.1.1", "Diagnostic-Code": "smtp; 550 5.1.1 "})

	// Now the failure comes after the message, between two that are delivered.
	s.submit(t, letter("nearly full", numbered(400_000)), "full@example.net")
	mailbox(t, d.mailbox("full@example.net"), 1)
	sent = letter("over quota", numbered(200_000))
	s.submit(t, sent, "c@example.net", "full@example.net", "d@example.net")
	mailbox(t, d.mailbox("c@example.net"), 1)[0].trace(t, sent)
	mailbox(t, d.mailbox("d@example.net"), 1)[0].trace(t, sent)
	notified("full@example.net", map[string]string{"Action": "failed", "Status": "5.2.2", "Diagnostic-Code": "smtp; 552 5.2.2 "})
	mailbox(t, d.mailbox("full@example.net"), 1)

	home := filepath.Join(d.dir, "mail", "late@example.net")
	if err := os.Mkdir(home, 0o700); err != nil { // of root
		t.Fatal(err)
	}
	sent = letter("late", dots)
	s.submit(t, sent, "-N", "delay,failure", "b@example.net", "late@example.net")
	notified("late@example.net", map[string]string{"Action": "delayed", "Status": "4.", "Diagnostic-Code": "smtp; 451 4."})
	if err := os.Chown(home, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	mailbox(t, d.mailbox("late@example.net"), 1)[0].trace(t, sent)
	p.AwaitEmpty(patience)
	mailbox(t, d.mailbox("b@example.net"), 2)
	mailbox(t, d.mailbox("a@example.org"), told)
}
