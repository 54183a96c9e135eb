package smtpd

import (
	"strings"
	"sync/atomic"
	"testing"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// serveFor is serve with a core that takes what is stored in the value.
func serveFor(t *testing.T, core *atomic.Uint32) *front {
	t.Helper()
	f := serve(t, settings(), spool.Options{})
	f.server.options.Core = func() mail.CoreExtensions { return mail.CoreExtensions(core.Load()) }
	return f
}

// What is offered follows what core takes, on connections that are open and new ones, also before
// and after the first transaction.
func TestOfferFollowsCore(t *testing.T) {
	var core atomic.Uint32
	f := serveFor(t, &core)
	p := f.dial()
	open := f.dial()
	for _, e := range []mail.CoreExtensions{
		mail.CoreUnknown, mail.CoreUnknown.Add(0), mail.CoreUnknown.Add(mail.SMTPUTF8), mail.CoreUnknown.Add(mail.AllExtensions),
		mail.CoreUnknown.Add(mail.EightBitMIME),
	} {
		core.Store(uint32(e))
		fresh := f.dial()
		for _, who := range []*peer{p, open, fresh} {
			who.send("EHLO client.example\r\n")
			offered := who.want("250 .*")
			for _, keyword := range []string{"SMTPUTF8", "8BITMIME"} {
				want := e.Offer().Has(mail.ParseExtensions([]string{keyword}))
				if got := strings.Contains(offered, keyword); got != want {
					t.Errorf("core %b: %s offered: %v\n%s", e, keyword, got, offered)
				}
			}
			for _, keyword := range []string{"PIPELINING", "CHUNKING", "DSN", "ENHANCEDSTATUSCODES", "250 SIZE 10000"} {
				if !strings.Contains(offered, keyword) {
					t.Errorf("core %b: no %s\n%s", e, keyword, offered)
				}
			}
		}
		p.send("MAIL FROM:<a@example.org>\r\n") // go-smtp has it from here on
		p.want("250 .*")
	}
}

// A client hears at the command that brings the need what core can't take, and mail that declares
// more than it needs is taken.
func TestNeedsInDialogue(t *testing.T) {
	const plain, header, text = "Subject: x\r\n\r\nx\r\n", "Subject: ü\r\n\r\nx\r\n", "Subject: x\r\n\r\nü\r\n"
	for _, test := range []struct {
		name             string
		core             mail.CoreExtensions
		mail, rcpt, body string
		want             [3]string // replies to MAIL, RCPT and the message
	}{
		{"ASCII, all declared", mail.CoreUnknown.Add(0), "<a@example.org> SMTPUTF8 BODY=8BITMIME", "<b@example.net>", plain, [3]string{"250", "250", "250"}},
		{"U-labels", mail.CoreUnknown.Add(0), "<a@bücher.example> SMTPUTF8", "<b@bücher.example>", plain, [3]string{"250", "250", "250"}},
		{"8-bit text, not declared", mail.CoreUnknown.Add(0), "<a@example.org>", "<b@example.net>", text, [3]string{"250", "250", "250"}},
		{"8-bit header, not declared", mail.CoreUnknown.Add(0), "<a@example.org>", "<b@example.net>", header, [3]string{"250", "250", "250"}},
		{"8-bit text under SMTPUTF8 alone", mail.CoreUnknown.Add(0), "<a@example.org> SMTPUTF8", "<b@example.net>", text, [3]string{"250", "250", "250"}},
		{"8-bit text", mail.CoreUnknown.Add(0), "<a@example.org> BODY=8BITMIME", "<b@example.net>", text, [3]string{"250", "250", "554 5.6.3"}},
		{"8-bit header", mail.CoreUnknown.Add(0), "<a@example.org> BODY=8BITMIME", "<b@example.net>", header, [3]string{"250", "250", "554 5.6.3"}},
		{"UTF-8 header", mail.CoreUnknown.Add(mail.EightBitMIME), "<a@example.org> SMTPUTF8", "<b@example.net>", header, [3]string{"250", "250", "550 5.6.7"}},
		{"sender", mail.CoreUnknown.Add(0), "<jörg@example.org> SMTPUTF8", "", "", [3]string{"550 5.6.7"}},
		{"recipient", mail.CoreUnknown.Add(0), "<a@example.org> SMTPUTF8", "<jörg@example.net>", "", [3]string{"250", "550 5.6.7"}},
		{"core not known, sender", mail.CoreUnknown, "<jörg@example.org> SMTPUTF8", "", "", [3]string{"451 4.3.0"}},
		{"core not known, recipient", mail.CoreUnknown, "<a@example.org> SMTPUTF8", "<jörg@example.net>", "", [3]string{"250", "451 4.3.0"}},
		{"core not known, UTF-8 header", mail.CoreUnknown, "<a@example.org> SMTPUTF8", "<b@example.net>", header, [3]string{"250", "250", "451 4.3.0"}},
		{"core not known, 8-bit text", mail.CoreUnknown, "<a@example.org> BODY=8BITMIME", "<b@example.net>", text, [3]string{"250", "250", "250"}},
		{"core not known, ASCII", mail.CoreUnknown, "<a@example.org> SMTPUTF8 BODY=8BITMIME", "<b@example.net>", plain, [3]string{"250", "250", "250"}},
		{"core takes all", mail.CoreUnknown.Add(mail.AllExtensions), "<jörg@example.org> SMTPUTF8 BODY=8BITMIME", "<jörg@example.net>", header + text, [3]string{"250", "250", "250"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var core atomic.Uint32
			core.Store(uint32(test.core))
			f := serveFor(t, &core)
			p := f.dial()
			p.send("EHLO client.example\r\n")
			p.want("250 .*")
			p.send("MAIL FROM:" + test.mail + "\r\n")
			p.want(test.want[0] + " .*")
			if test.rcpt != "" {
				p.send("RCPT TO:" + test.rcpt + "\r\n")
				p.want(test.want[1] + " .*")
			}
			if test.body != "" {
				p.send("DATA\r\n")
				p.want("354 .*")
				p.send(test.body + ".\r\n")
				p.want(test.want[2] + " .*")
			}
			stored := 0
			if test.want[2] == "250" {
				stored = 1
			}
			messages := f.accepted()
			if len(messages) != stored {
				t.Fatalf("%d messages were stored, want %d", len(messages), stored)
			}
			if stored == 0 {
				p.send("NOOP\r\n") // the session goes on
				p.want("250 .*")
				return
			}
			if got := body(t, messages[0]); !strings.HasSuffix(got, test.body) {
				t.Errorf("stored %q", got)
			}
			if env := messages[0].Envelope; test.core == mail.CoreUnknown.Add(0) && env.Needs() != 0 {
				t.Errorf("stored with a need of %q", env.Needs())
			}
			loaded, err := f.spool.Load(messages[0].Envelope.ID)
			if err != nil {
				t.Fatal(err)
			}
			defer loaded.Release()
			if got, want := loaded.Envelope.Content, messages[0].Envelope.Content; got != want || !got.Has(mail.ContentKnown) {
				t.Errorf("the spool has content %b, want %b", got, want)
			}
		})
	}
}
