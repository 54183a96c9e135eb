package smtpd

import (
	"fmt"
	"strings"
	"testing"

	"anymx/edge/budget"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

// Connections whose envelopes take what they can are refused when memory is short, a small transaction
// still gets its message in, and nothing is held in the end.
func TestEnvelopesAreBounded(t *testing.T) {
	memory := budget.New(256 << 10)
	set := settings()
	set.MaxEnvelope = 64 << 10
	rules := *set.Rules
	rules.MaxRecipients = 500
	set.Rules = &rules
	f := serve(t, set, spool.Options{Budget: memory})
	var clients []*peer
	orcpt := strings.Repeat("x", 480)
	refused := 0
	for i := range 6 {
		p := f.dial()
		p.send("EHLO a.example\r\n")
		p.want("250 .*")
		p.send("MAIL FROM:<>\r\n")
		p.want("250 .*")
		for n := range 60 {
			p.send(fmt.Sprintf("RCPT TO:<u%d.%d@example.net> ORCPT=rfc822;%s\r\n", i, n, orcpt))
			if reply := p.want("250 .*|452 4.5.3 recipients take .*"); strings.HasPrefix(reply, "452") {
				refused++
			}
		}
		clients = append(clients, p)
	}
	if refused == 0 || memory.Used() > memory.Limit() { // small ones may use the last quarter
		t.Errorf("%d were refused, %d bytes are held", refused, memory.Used())
	}
	p := f.dial()
	p.send("EHLO b.example\r\nMAIL FROM:<>\r\nRCPT TO:<good@example.net>\r\nDATA\r\n")
	for _, want := range []string{"250 .*", "250 .*", "250 .*", "354 .*"} {
		p.want(want)
	}
	p.send("Subject: a\r\n\r\nx\r\n.\r\n")
	p.want("250 2.0.0 stored as .*")
	for _, c := range clients {
		_ = c.conn.Close()
	}
	kit.Eventually(t, "nothing is held", func() bool { return memory.Used() == 0 })
}

// A client that holds the space for messages in transfer and brings no more is cut, by DATA and by BDAT. It
// hears why, nothing of its message stays, and another client's message is stored.
func TestSlowMessageIsCut(t *testing.T) {
	for _, begin := range []string{"DATA\r\n", "BDAT 5000000\r\n"} {
		t.Run(strings.TrimSpace(begin), func(t *testing.T) {
			set := settings()
			rules := *set.Rules
			rules.MaxMessage = 10 << 20
			set.Rules = &rules
			f := serve(t, set, spool.Options{InFlight: 600_000, InlineMax: 1000})
			send := func(command string, n int) *peer {
				p := f.dial()
				p.send("EHLO b.example\r\nMAIL FROM:<>\r\nRCPT TO:<good@example.net>\r\n" + command)
				for range 3 {
					p.want("250 .*")
				}
				if command == "DATA\r\n" {
					p.want("354 .*")
				}
				p.send("Subject: a\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", n/100))
				return p
			}
			// It brings less than the other in more time, however slow the machine is: it is the slowest.
			slow := send(begin, 250_000)
			kit.Eventually(t, "it has arrived", func() bool { return f.spool.Stats().DraftBytes > 240_000 })
			good := send("DATA\r\n", 450_000)
			good.send(".\r\n")
			good.want("250 2.0.0 stored as .*")
			slow.want("421 4.3.1 mx.example.net message came too slowly while storage is short")
			slow.gone()
			kit.Eventually(t, "nothing is in transfer", func() bool { return f.spool.Stats().DraftBytes == 0 })
			if got := f.accepted(); len(got) != 1 || got[0].Envelope.Size < 450_000 {
				t.Errorf("%d messages are stored", len(got))
			}
			if err := f.spool.Accepting(); err != nil {
				t.Error(err)
			}
		})
	}
}
