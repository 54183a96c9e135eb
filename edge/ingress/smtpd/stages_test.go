package smtpd

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/edge/spool"
)

var refusal = mail.Reply{Code: 550, Enhanced: mail.Enhanced{5, 7, 1}, Text: "not here"}

// A check is asked at its stage with what is known by then, and its refusal is heard at the right place:
// in place of the banner, of EHLO's reply, and after the message. Nothing refused is stored.
func TestStages(t *testing.T) {
	const message = "Subject: x\r\n y\r\nFrom: z\r\n\r\nbody\r\n"
	for _, tt := range []struct {
		at      policy.Stage
		replies []string // to the banner and the commands below
		knows   string
	}{
		{policy.AtConnect, []string{"550"}, "helo= sender= rcpt= fields=0 size=0"},
		{policy.AtHelo, []string{"220", "550", "503"}, "helo=c.example sender= rcpt= fields=0 size=0"},
		{policy.AtMail, []string{"220", "250", "550", "503"}, "helo=c.example sender=a@b.example rcpt= fields=0 size=0"},
		{policy.AtRcpt, []string{"220", "250", "250", "550", "503"}, "helo=c.example sender=a@b.example rcpt=a@example.net fields=0 size=0"},
		{policy.AtHeader, []string{"220", "250", "250", "250", "354", "550", "250"}, "helo=c.example sender=a@b.example rcpt=a@example.net fields=2 size=0"},
		{policy.AtBody, []string{"220", "250", "250", "250", "354", "550", "250"}, fmt.Sprintf("helo=c.example sender=a@b.example rcpt=a@example.net fields=2 size=%d", len(message))},
	} {
		var knew string
		set := settings()
		set.Checks.Add(tt.at, func(ctx context.Context, f *policy.Facts) policy.Verdict {
			n := 0
			if f.Header != nil {
				n = len(f.Header.Fields)
			}
			knew = fmt.Sprintf("helo=%s sender=%s rcpt=%s fields=%d size=%d", f.Client.Helo, f.Sender, f.Recipient, n, f.Size)
			if ctx.Err() != nil || !f.Client.Addr.IsValid() {
				knew = fmt.Sprint("no client: ", ctx.Err(), f.Client.Addr)
			}
			return policy.Verdict{Action: policy.Refuse, Reply: refusal}
		})
		f := serve(t, set, spool.Options{})
		p := f.open()
		commands := []string{"EHLO c.example", "MAIL FROM:<a@b.example>", "RCPT TO:<a@example.net>", "DATA", message + ".", "NOOP"}
		for i, code := range tt.replies {
			p.want(code + "[ -].*")
			if i < len(tt.replies)-1 {
				p.send(commands[i] + "\r\n")
			}
		}
		if knew != tt.knows {
			t.Errorf("stage %d knew %s, want %s", tt.at, knew, tt.knows)
		}
		if n := len(f.accepted()); n != 0 {
			t.Errorf("stage %d: %d messages were stored", tt.at, n)
		}
	}
}

// A message that is discarded is answered as if it was stored, and nobody gets it.
func TestDiscard(t *testing.T) {
	set := settings()
	set.Checks.Add(policy.AtRcpt, func(_ context.Context, f *policy.Facts) policy.Verdict {
		if f.Recipient.Local == "trap" {
			return policy.Verdict{Action: policy.Discard}
		}
		return policy.Verdict{}
	})
	f := serve(t, set, spool.Options{})
	p := f.dial()
	p.say("EHLO c", "250 .*")
	for i, to := range []string{"trap", "a"} {
		p.say("MAIL FROM:<a@b.example>", "250 .*")
		p.say("RCPT TO:<"+to+"@example.net>", "250 .*")
		p.say("BDAT 3 LAST\r\nx", "250 2.0.0 stored as [0-9a-z]{16}")
		if n := len(f.accepted()); n != i {
			t.Errorf("%s: %d messages are stored", to, n)
		}
	}
	if n := f.spool.Stats().Messages; n != 1 {
		t.Errorf("the spool has %d messages", n)
	}
}

// A header beyond its limits is refused, however it comes, and the session goes on.
func TestHeaderTooLarge(t *testing.T) {
	set := settings()
	set.Rules.MaxHeader, set.Rules.MaxFields, set.Rules.MaxMessage, set.MaxErrors = 1000, 10, 0, 0
	f := serve(t, set, spool.Options{})
	p := f.dial()
	p.say("EHLO c", "250 .*")
	for name, header := range map[string]string{
		"many fields": strings.Repeat("X: y\r\n", 11) + "\r\n",
		"many bytes":  "X: " + strings.Repeat("y", 1000) + "\r\n\r\n",
		"no end":      strings.Repeat("X: y\r\n", 11),
	} {
		for _, after := range []string{"", strings.Repeat(strings.Repeat("z", 100)+"\r\n", 5000)} {
			text := header + after
			p.say("MAIL FROM:<a@b.example>", "250 .*")
			p.say("RCPT TO:<a@example.net>", "250 .*")
			p.say("DATA", "354 .*")
			p.say(text+".", "552 5.3.4 .*")
			p.say("MAIL FROM:<a@b.example>", "250 .*")
			p.say("RCPT TO:<a@example.net>", "250 .*")
			p.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
			p.want("552 5.3.4 .*")
		}
		if len(f.accepted()) > 0 {
			t.Fatalf("%s: stored", name)
		}
	}
	p.say("MAIL FROM:<a@b.example>", "250 .*")
	p.say("RCPT TO:<a@example.net>", "250 .*")
	p.say("DATA", "354 .*")
	p.say(strings.Repeat("X: y\r\n", 10)+"\r\n.", "250 .*")
}

// With bare_lf = "normalize" a chunk's lines get their CRLF, wherever the chunks are cut; in DATA a bare
// LF ends the connection all the same.
func TestNormalize(t *testing.T) {
	set := settings()
	set.Wire.Limits.NormalizeLF = true
	f := serve(t, set, spool.Options{})
	const text = "\nSubject: x\n\r\n\n\r\na\r\nb\n.\nc\r\n"
	const want = "\r\nSubject: x\r\n\r\n\r\n\r\na\r\nb\r\n.\r\nc\r\n"
	p := f.dial()
	p.say("EHLO c", "250 .*")
	for cut := range len(text) + 1 {
		p.say("MAIL FROM:<a@b.example>", "250 .*")
		p.say("RCPT TO:<a@example.net>", "250 .*")
		p.send(fmt.Sprintf("BDAT %d\r\n%s", cut, text[:cut]))
		p.want("250 .*")
		p.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text)-cut, text[cut:]))
		p.want("250 2.0.0 .*")
		all := f.accepted()
		if got := body(t, all[len(all)-1]); !strings.HasSuffix(got, want) {
			t.Fatalf("cut at %d: %q", cut, got)
		}
	}
	p.say("MAIL FROM:<a@b.example>", "250 .*")
	p.say("RCPT TO:<a@example.net>", "250 .*")
	p.send("BDAT 4 LAST\r\na\rb\n")
	p.want("554 5.6.0 bare CR in message")
	p.say("MAIL FROM:<a@b.example>", "250 .*")
	p.say("RCPT TO:<a@example.net>", "250 .*")
	p.say("DATA", "354 .*")
	p.send("a\nb\r\n.\r\n")
	p.want("554 5.6.0 bare LF in message, closing")
	p.gone()
}

// Without chunking, BDAT is not offered, and one that comes all the same is read away.
func TestNoChunking(t *testing.T) {
	set := settings()
	set.NoChunking = true
	f := serve(t, set, spool.Options{})
	p := f.dial()
	p.send("EHLO c\r\n")
	if offer := p.want("250 .*"); strings.Contains(offer, "CHUNKING") {
		t.Errorf("EHLO %q", offer)
	}
	p.say("MAIL FROM:<a@b.example>", "250 .*")
	p.say("RCPT TO:<a@example.net>", "250 .*")
	p.say("BDAT 6 LAST\r\nQUIT", "502 .*")
	p.say("DATA", "354 .*")
	p.say("x\r\n.", "250 .*")
}

// What a client sends first never becomes part of the fields that we put in front.
func TestFrontEnds(t *testing.T) {
	f := serve(t, settings(), spool.Options{})
	p := f.dial()
	p.say("EHLO c", "250 .*")
	for text, front := range map[string]string{
		" folded\r\nSubject: x\r\n\r\nbody\r\n": "\r\n",
		"\tfolded\r\n":                          "\r\n",
		"no header\r\n":                         "\r\n",
		"From a@b Mon Jan  1 2026\r\n":          "\r\n",
		"Subject: x\r\n\r\nbody\r\n":            "",
		"\r\nbody\r\n":                          "",
		"":                                      "",
	} {
		p.say("MAIL FROM:<a@b.example>", "250 .*")
		p.say("RCPT TO:<a@example.net>", "250 .*")
		p.send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text))
		p.want("250 .*")
		all := f.accepted()
		m := all[len(all)-1]
		head, _, _ := strings.Cut(string(m.Envelope.Front), "\r\n\r\n")
		if want := strings.TrimSuffix(head, "\r\n") + "\r\n" + front; string(m.Envelope.Front) != want || !strings.HasPrefix(head, "Received: ") {
			t.Errorf("%q: front %q", text, m.Envelope.Front)
		}
		if got := body(t, m); got != string(m.Envelope.Front)+text {
			t.Errorf("%q: stored %q", text, got)
		}
	}
}

// What a check says of a greeting goes with that greeting; what it says of the connection stays.
func TestGreetingIsForgotten(t *testing.T) {
	set := settings()
	set.Checks.Add(policy.AtConnect, func(context.Context, *policy.Facts) policy.Verdict {
		return policy.Verdict{Headers: []string{"X-Connect: 1"}}
	})
	set.Checks.Add(policy.AtHelo, func(_ context.Context, f *policy.Facts) policy.Verdict {
		v := policy.Verdict{Headers: []string{"X-Helo: " + f.Client.Helo}}
		if f.Client.Helo == "trap" {
			v.Action = policy.Discard
		}
		return v
	})
	f := serve(t, set, spool.Options{})
	p := f.dial()
	p.say("EHLO trap", "250 .*")
	p.say("EHLO b", "250 .*")
	p.say("EHLO c", "250 .*")
	p.say("MAIL FROM:<a@b.example>", "250 .*")
	p.say("RCPT TO:<a@example.net>", "250 .*")
	p.say("BDAT 3 LAST\r\nx", "250 .*")
	got := f.accepted()
	if len(got) != 1 {
		t.Fatalf("%d messages are stored", len(got))
	}
	front := string(got[0].Envelope.Front)
	if strings.Count(front, "X-Connect: 1\r\n") != 1 || strings.Count(front, "X-Helo: ") != 1 || !strings.Contains(front, "X-Helo: c\r\n") {
		t.Errorf("front: %q", front)
	}
}
