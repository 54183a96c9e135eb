package smtpd

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/edge/spool"
)

// What checks say of a message is stored in its envelope, apart from the client's bytes: fields
// after our trace field, tags, a route, and that nobody is notified. What can't be stored is left
// out, and the message is taken.
func TestVerdictInEnvelope(t *testing.T) {
	set := settings()
	set.Checks.Add(policy.AtMail, func(context.Context, *policy.Facts) policy.Verdict {
		return policy.Verdict{Headers: []string{"X-Mail: yes"}, Tags: []string{"dnsbl.example"}, Route: "first"}
	})
	set.Checks.Add(policy.AtBody, func(context.Context, *policy.Facts) policy.Verdict {
		return policy.Verdict{
			Headers: []string{"X-Body: a\r\n\tfolded", "X-Forged: a\r\n\r\nbody", "X-8bit: \xff", strings.Repeat("X: y\r\n", mail.MaxFront/6) + "X: y"},
			Tags:    []string{"dnsbl.example", "spam", "two words"}, Route: "second", NoDSN: true,
		}
	})
	f := serve(t, set, spool.Options{})
	text := "Subject: x\r\n\r\n.hello\r\n"
	for _, send := range []func(p *peer){
		func(p *peer) {
			p.say("DATA", "354 .*")
			p.send(strings.ReplaceAll(text, "\r\n.", "\r\n..") + ".\r\n")
		},
		func(p *peer) {
			p.send("BDAT 5\r\n" + text[:5])
			p.want("250 .*")
			p.send("BDAT 17 LAST\r\n" + text[5:])
		},
	} {
		p := f.dial()
		p.say("EHLO client.example.com", "250 .*")
		p.say("MAIL FROM:<a@example.com>", "250 .*")
		p.say("RCPT TO:<b@example.net>", "250 .*")
		send(p)
		p.want("250 2.0.0 stored as .*")
	}
	for _, m := range f.accepted() {
		env := m.Envelope
		fields := string(env.Front)
		if !strings.HasPrefix(fields, "Received: from client.example.com ") || !strings.Contains(fields, " id "+env.ID.String()) ||
			!strings.HasSuffix(fields, "\r\nX-Mail: yes\r\nX-Body: a\r\n\tfolded\r\n") || cap(env.Front) > len(env.Front)+64 {
			t.Errorf("front of %d bytes: %q", cap(env.Front), fields)
		}
		if !slices.Equal(env.Tags, []string{"dnsbl.example", "spam"}) || env.Route != "second" || !env.NoDSN {
			t.Errorf("%+v", env)
		}
		if env.BodySize() != int64(len(text)) || env.Size != int64(len(text)+len(fields)) {
			t.Errorf("%d bytes, %d of them of the client; want %d", env.Size, env.BodySize(), len(text))
		}
		if got := body(t, m); got != fields+text {
			t.Errorf("%q is delivered", got)
		}
		loaded, err := f.spool.Load(env.ID)
		if err != nil || !bytes.Equal(loaded.Envelope.Front, env.Front) || !slices.Equal(loaded.Envelope.Tags, env.Tags) || loaded.Envelope.Route != "second" || !loaded.Envelope.NoDSN {
			t.Errorf("%+v, %v", loaded, err)
		}
	}
	if len(f.accepted()) != 2 {
		t.Errorf("%d messages", len(f.accepted()))
	}
}
