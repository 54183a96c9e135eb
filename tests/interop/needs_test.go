package interop

import (
	"strings"
	"testing"

	"anymx/edge/delivery/handoff"
	"anymx/edge/mail"
)

// TestDovecotTakesWhatNeedsNothing: Dovecot's LMTP has no SMTPUTF8. ASCII mail for which it was
// declared arrives whole, U-labels as A-labels, and one recipient's local part costs no other.
func TestDovecotTakesWhatNeedsNothing(t *testing.T) {
	t.Parallel()
	const ascii, label = "b@example.net", "b@xn--bcher-kva.example"
	d := &dovecot{users: []string{ascii, label}}
	d.start(t)
	e := newEdge(t, handoff.Options{Addresses: []string{d.addr}, LMTP: true})
	text := "Subject: plain\r\n\r\nhello\r\n.dot\r\n"
	r := e.send(&mail.Envelope{SMTPUTF8: true, Body: mail.Body8Bit}, []byte(text), ascii, "b@bücher.example", "jörg@example.net")
	if r[0].Failure != nil || r[1].Failure != nil {
		t.Fatalf("%v, %v", r[0].Failure, r[1].Failure)
	}
	if f := r[2].Failure; f == nil || f.Enhanced != (mail.Enhanced{5, 6, 7}) {
		t.Errorf("a local part that is not ASCII: %v", f)
	}
	for _, address := range []string{ascii, label} {
		if got := mailbox(t, d.mailbox(address), 1)[0]; got.subject() != "plain" || !strings.HasSuffix(strings.ReplaceAll(string(got.raw), "\r\n", "\n"), "\n\nhello\n.dot\n") {
			t.Errorf("%s got\n%s", address, got.raw)
		}
	}
	if core := e.handoff.Extensions(); core.Supports(mail.SMTPUTF8) || !core.Supports(mail.EightBitMIME) {
		t.Errorf("Dovecot was heard to take %v", core.Offer().Keywords())
	}
}
