package policy

import (
	"testing"

	"anymx/edge/mail"
)

// TestNeeds checks that mail which needs more than core supports is refused where the need appears,
// and that other mail is accepted.
func TestNeeds(t *testing.T) {
	const utf8, eight = mail.SMTPUTF8, mail.EightBitMIME
	core := func(addresses ...mail.Extensions) mail.CoreExtensions {
		c := mail.CoreUnknown
		for _, e := range addresses {
			c = c.Add(e)
		}
		return c
	}
	rules := Rules{Hostname: "mx.test", Domains: NewDomains([]Domain{{Name: "example.net"}, {Name: "bücher.example"}})}
	for _, test := range []struct {
		name string
		core mail.CoreExtensions
		// The replies to a local part outside ASCII, a message with a UTF-8 header, one with 8-bit
		// text, and one with both.
		address, header, text, both string
	}{
		{"not asked", 0, "", "", "", ""},
		{"not known", core(), "451 4.3.0 ", "451 4.3.0 ", "", "451 4.3.0 "},
		{"takes both", core(utf8 | eight), "", "", "", ""},
		{"takes nothing", core(0), "550 5.6.7 ", "550 5.6.7 ", "554 5.6.3 ", "550 5.6.7 "},
		{"takes 8BITMIME", core(eight), "550 5.6.7 ", "550 5.6.7 ", "", "550 5.6.7 "},
		{"takes SMTPUTF8", core(utf8), "", "", "554 5.6.3 ", "554 5.6.3 "},
		{"one of two takes both", core(0, utf8|eight), "", "", "", ""},
		{"each takes one", core(utf8, eight), "", "", "", "550 5.6.7 "},
	} {
		t.Run(test.name, func(t *testing.T) {
			check := func(what string, got mail.Reply, want string) {
				t.Helper()
				if !matches(got, want) {
					t.Errorf("%s: got %q, want %q", what, got, want)
				}
			}
			for _, ok := range []string{"a@example.org", "a@bücher.example"} {
				check("sender "+ok, rules.Mail(Mail{Sender: mustPath(t, ok), SMTPUTF8: true, Core: test.core}), "")
			}
			check("null sender", rules.Mail(Mail{SMTPUTF8: true, Core: test.core}), "")
			check("sender", rules.Mail(Mail{Sender: mustPath(t, "jörg@example.org"), SMTPUTF8: true, Core: test.core}), test.address)
			for _, ok := range []string{"a@example.net", "a@bücher.example"} {
				_, got := rules.Rcpt(Rcpt{Path: mustPath(t, ok), SMTPUTF8: true, Core: test.core})
				check("recipient "+ok, got, "")
			}
			path, got := rules.Rcpt(Rcpt{Path: mustPath(t, "jörg@example.net"), SMTPUTF8: true, Core: test.core})
			check("recipient", got, test.address)
			if refused := test.address != ""; refused != path.IsNull() {
				t.Errorf("recipient is delivered to %q", path)
			}
			_, got = rules.Rcpt(Rcpt{Path: mustPath(t, "jörg@elsewhere.example"), SMTPUTF8: true, Core: test.core})
			check("recipient elsewhere", got, "550 5.7.1 ")
			check("message", rules.Data(Data{Core: test.core}), "")
			check("header", rules.Data(Data{Needs: utf8, Core: test.core}), test.header)
			check("text", rules.Data(Data{Needs: eight, Core: test.core}), test.text)
			check("both", rules.Data(Data{Needs: utf8 | eight, Core: test.core}), test.both)
		})
	}
}
