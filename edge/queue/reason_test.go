package queue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// dialError is what a dial of core gives, with core's address in it.
func dialError(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 77, 0, 1), Port: 2525}, Err: os.NewSyscallError("connect", err)}
}

const secretCore = "core.internal[10.77.0.1]:2525"

// found is a failure without a reply, as smtpc makes it.
func found(command string, enhanced mail.Enhanced, cause error) *mail.Failure {
	return &mail.Failure{Enhanced: enhanced, Permanent: enhanced[0] == 5, Command: command, Remote: secretCore, Cause: cause}
}

// failures are of each kind that the rooms make: a reply, an error of the
// stream, what the client finds before it speaks, what the hand-off adds, and
// what the queue itself makes of a courier without an answer.
var failures = []struct {
	name string
	err  error  // of the courier; nil: it gives no result
	want string // in the notice for people
	code string // Diagnostic-Code
}{
	{"refused", permFail, "There is no mailbox with this address. Please check its spelling. The recipient's server replied to RCPT: 550 5.1.1 no such user", "smtp; 550 5.1.1 no such user"},
	{"refused for now", tempFail, "The recipient's server replied to RCPT: 451 4.2.1 not now", "smtp; 451 4.2.1 not now"},
	{"refused without words", &mail.Failure{Reply: mail.Reply{Code: 554}, Enhanced: mail.Enhanced{5, 0, 0}, Permanent: true, Command: "DATA"}, "The recipient's server replied to DATA: 554", "smtp; 554"},
	{"connection refused", found("CONNECT", mail.Enhanced{4, 4, 1}, dialError(syscall.ECONNREFUSED)), "This mail system reports: 4.4.1 connection refused", "x-anymx; 4.4.1 connection refused"},
	{"no route", found("CONNECT", mail.Enhanced{4, 4, 1}, dialError(syscall.EHOSTUNREACH)), "4.4.1 no route to host", "x-anymx; 4.4.1 no route to host"},
	{"reset", found("DATA", mail.Enhanced{4, 4, 2}, dialError(syscall.ECONNRESET)), "4.4.2 connection reset by the other side", "x-anymx; 4.4.2 connection reset by the other side"},
	{"no answer", found("DATA", mail.Enhanced{4, 4, 2}, os.ErrDeadlineExceeded), "4.4.2 no answer in time", "x-anymx; 4.4.2 no answer in time"},
	{"no answer to a lookup", found("CONNECT", mail.Enhanced{4, 4, 1}, &net.DNSError{Name: "core.internal", IsTimeout: true}), "4.4.1 no answer in time", "x-anymx; 4.4.1 no answer in time"},
	{"no such host", found("CONNECT", mail.Enhanced{4, 4, 1}, &net.DNSError{Name: "core.internal", IsNotFound: true}), "4.4.1 The recipient's mail system did not answer.", "x-anymx; 4.4.1 The"},
	{"hung up", found("MAIL", mail.Enhanced{4, 4, 2}, errors.New("connection closed by the other side")), "4.4.2 The connection to the recipient's mail system was lost.", "x-anymx; 4.4.2 The connection"},
	{"protocol error", found("RCPT", mail.Enhanced{4, 5, 0}, errors.New("protocol error: 10.77.0.1")), "4.5.0 The mail systems on the way to the recipient could not communicate properly.", "x-anymx; 4.5.0 The mail"},
	{"TLS broken", found("STARTTLS", mail.Enhanced{4, 4, 2}, errors.New("TLS: x509: certificate is valid for core.internal")), "4.4.2 TLS with the recipient's mail system failed", "x-anymx; 4.4.2 TLS"},
	{"TLS not offered", found("STARTTLS", mail.Enhanced{4, 7, 4}, errors.New("TLS is required, but not offered")), "4.7.4 The recipient's mail system does not offer the encryption", "x-anymx; 4.7.4 The"},
	{"REQUIRETLS, broken", found("MAIL", mail.Enhanced{4, 7, 5}, errors.New("message requires TLS, which failed")), "4.7.5 The message may only be sent over verified encryption", "x-anymx; 4.7.5 The"},
	{"REQUIRETLS", found("MAIL", mail.Enhanced{5, 7, 30}, errors.New("message requires verified TLS (REQUIRETLS)")), "5.7.30 message requires verified TLS", "x-anymx; 5.7.30 message requires verified TLS (REQUIRETLS)"},
	{"too large", found("MAIL", mail.Enhanced{5, 3, 4}, errors.New("message is longer than the server's SIZE limit")), "Please send it in parts, or send a link. This mail system reports: 5.3.4 message is longer", "x-anymx; 5.3.4 message is longer"},
	{"8-bit", found("MAIL", mail.Enhanced{5, 6, 3}, errors.New("message has 8-bit text, server has no 8BITMIME")), "5.6.3 message has 8-bit text", "x-anymx; 5.6.3 message has"},
	{"SMTPUTF8", found("MAIL", mail.Enhanced{5, 6, 7}, errors.New("message needs SMTPUTF8, server has none")), "5.6.7 message needs SMTPUTF8", "x-anymx; 5.6.7 message needs"},
	{"sender", found("MAIL", mail.Enhanced{5, 1, 7}, errors.New("sender's address has a line end or NUL in it")), "5.1.7 sender's address", "x-anymx; 5.1.7 sender's"},
	{"address", found("RCPT", mail.Enhanced{5, 1, 3}, errors.New("address can't stand in a command")), "5.1.3 address can't stand", "x-anymx; 5.1.3 address"},
	{"used up", found("MAIL", mail.Enhanced{4, 4, 5}, errors.New("connection has no transaction left")), "4.4.5 The recipient's mail system could not be reached.", "x-anymx; 4.4.5 The"},
	{"not attempted", &mail.Failure{Enhanced: mail.Enhanced{4, 3, 0}, Cause: errors.New("not tried")}, "4.3.0 A mail system on the way", "x-anymx; 4.3.0 A mail"},
	{"core unreached for some", &mail.Failure{Enhanced: mail.Enhanced{4, 4, 1}, Cause: fmt.Errorf("%w", &Down{Cause: found("CONNECT", mail.Enhanced{4, 4, 1}, dialError(syscall.ENETUNREACH))})}, "4.4.1 network is unreachable", "x-anymx; 4.4.1 network"},
	{"core says 421 at its greeting", &mail.Failure{Enhanced: mail.Enhanced{4, 4, 1}, Cause: &Down{Cause: &mail.Failure{Reply: mail.Reply{Code: 421, Text: "closing"}, Enhanced: mail.Enhanced{4, 3, 2}, Command: "CONNECT", Remote: secretCore}}}, "The recipient's server replied to CONNECT: 421 closing", "smtp; 421 closing"},
	{"an error of the courier", io.ErrUnexpectedEOF, "4.3.0 A mail system on the way", "x-anymx; 4.3.0 A mail"},
	{"no result", nil, "4.3.0 A mail system on the way", "x-anymx; 4.3.0 A mail"},
	{"nothing known", &mail.Failure{}, "The message could not be delivered.", "x-anymx; The message could not be delivered."},
	{"hostile words", &mail.Failure{Reply: mail.Reply{Code: 550, Text: "gone\r\n\r\nAction: delivered\nX: ü"}, Permanent: true}, "550 gone Action: delivered X: =C3=BC", `smtp; 550 gone Action: delivered X: \x{FC}`},
}

// Each failure of any room gives its reason, to strangers as well, and names
// nothing of core's.
func TestEachFailureHasAReason(t *testing.T) {
	for _, tt := range failures {
		t.Run(tt.name, func(t *testing.T) {
			f := &facts{
				env:     &mail.Envelope{Arrived: epoch, Sender: mail.Path{Local: "a", Domain: "example.com"}, Recipients: []mail.Recipient{recipient("b", 0)}},
				pending: []int{0}, attempt: 9, started: epoch.Add(200 * time.Hour), now: epoch.Add(200 * time.Hour),
			}
			if tt.err != nil {
				f.results = same(f.pending, tt.err)
			}
			checkNotice(t, f, tt.want, tt.code)
		})
	}
}

// checkNotice looks at the only notice that f gives.
func checkNotice(t *testing.T, f *facts, want, code string) {
	t.Helper()
	v := judge(f, filled(t, Schedule{}))
	if len(v.notices) != 1 {
		t.Fatalf("%d notices", len(v.notices))
	}
	var b bytes.Buffer
	d := &mail.DSN{Date: f.now, Hostname: "mx.example.net", Random: [12]byte{1}, Original: f.env, Recipients: v.notices[0].about, HideRemote: true}
	if err := mail.WriteDSN(&b, d); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(b.String()), " ")
	if !strings.Contains(text, want) {
		t.Errorf("the notice lacks %q:\n%s", want, b.String())
	}
	if !strings.Contains(text, "Diagnostic-Code: "+code) {
		t.Errorf("the notice lacks the Diagnostic-Code %q:\n%s", code, b.String())
	}
	if strings.Contains(text, "10.77") || strings.Contains(text, "core.internal") {
		t.Errorf("the notice names core:\n%s", b.String())
	}
}

// A message that expires in a pause names both: why nothing could be sent at
// last, and what the last attempt came to.
func TestExpiryNamesTheLastAttempt(t *testing.T) {
	for name, tt := range map[string]struct {
		last       error // of the last attempt
		cause      error // of the pause
		want, code string
	}{
		"never attempted": {nil, dialError(syscall.ECONNREFUSED), "4.4.1 connection refused We received", "x-anymx; 4.4.1 connection refused"},
		"put off before":  {tempFail, dialError(syscall.ECONNREFUSED), "4.4.1 connection refused At the previous attempt, the recipient's server replied: 451 4.2.1 not now", "smtp; 451 4.2.1 not now"},
		"lost before":     {found("DATA", mail.Enhanced{4, 4, 2}, dialError(syscall.ECONNRESET)), os.ErrDeadlineExceeded, "4.4.1 no answer in time We received", "x-anymx; 4.4.1 no answer"},
		"refused at the greeting": {tempFail, &mail.Failure{Reply: mail.Reply{Code: 554, Text: "go away"}, Permanent: true, Command: "CONNECT", Remote: secretCore},
			"replied to CONNECT: 554 go away At the previous attempt, the recipient's server replied: 451 4.2.1 not now", "smtp; 554 go away"},
		"a cause without words": {tempFail, context.Canceled, "did not answer. At the previous attempt", "smtp; 451 4.2.1 not now"},
	} {
		t.Run(name, func(t *testing.T) {
			env := &mail.Envelope{Arrived: epoch, Sender: mail.Path{Local: "a", Domain: "example.com"}, Recipients: []mail.Recipient{recipient("b", 0)}}
			q := &Queue{}
			results := q.unreachable(&lane{paused: &pause{cause: tt.cause}}, []int{0})
			f := &facts{env: env, pending: []int{0}, attempt: 3, now: epoch.Add(200 * time.Hour), results: results}
			if tt.last != nil {
				f.before.Recipients = []spool.RecipientState{{Last: tt.last.Error()}}
			}
			checkNotice(t, f, tt.want, tt.code)
		})
	}
}

func TestEarlier(t *testing.T) {
	for last, want := range map[string]string{
		"": "", "temporary failure": "", "RCPT: temporary failure: 451 4.2.1 not now": "451 4.2.1 not now",
		tempFail.Error(): "451 4.2.1 not now", permFail.Error(): "550 5.1.1 no such user",
		"core: temporary failure: 4.4.1 temporary failure: 450 x": "", "temporary failure: 45": "", "x failure: -50 y": "",
		"temporary failure: 421": "421", "temporary failure: 250 ok": "",
	} {
		got := ""
		if f := earlier(&spool.RecipientState{Last: last}); f != nil {
			got = f.Reply.String()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", last, got, want)
		}
	}
}
