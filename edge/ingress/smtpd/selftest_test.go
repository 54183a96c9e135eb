package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"anymx/edge/ingress/own"
	"anymx/edge/judge/policy"
	"anymx/edge/maillog"
	"anymx/edge/spool"

	"golang.org/x/sys/unix"
)

// connect connects from a port that told hears of before.
func (f *front) connect(told func(from netip.AddrPort)) *peer {
	f.t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		e := raw.Control(func(fd uintptr) {
			if err = unix.Bind(int(fd), &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				return
			}
			var local unix.Sockaddr
			if local, err = unix.Getsockname(int(fd)); err == nil {
				told(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(local.(*unix.SockaddrInet4).Port)))
			}
		})
		return errors.Join(e, err)
	}}
	conn, err := dialer.Dial("tcp", f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &peer{t: f.t, conn: conn, r: bufio.NewReader(conn)}
}

// selfTest connects as a self-test.
func (f *front) selfTest() (*peer, *own.Test) {
	f.t.Helper()
	var test *own.Test
	p := f.connect(func(from netip.AddrPort) { test = f.server.options.Own.Expect(from) })
	f.t.Cleanup(test.Close)
	return p, test
}

func (p *peer) say(line, pattern string) {
	p.t.Helper()
	p.send(line + "\r\n")
	p.want(pattern)
}

// A test is stored, read back and gone before its 250, while clients are told
// 421; the queue and the log of mail hear nothing.
func TestSelfTest(t *testing.T) {
	t.Parallel()
	f := serve(t, settings(), spool.Options{MaxMessages: 1})
	var lines bytes.Buffer
	log := maillog.New(&lines, maillog.Options{})
	f.server.options.MailLog = log
	draft, err := f.spool.BeginDraft() // it is at its mark
	if err != nil {
		t.Fatal(err)
	}
	defer draft.Discard()
	f.server.Registry().SetDraining(true)
	for range 3 {
		p, test := f.selfTest()
		p.want("220 mx.example.net .*")
		p.say("EHLO mx.example.net", "250 .*")
		p.say("MAIL FROM:<>", "250 .*")
		p.say("RCPT TO:<"+test.Recipient().String()+">", "250 .*")
		p.say("DATA", "354 .*")
		p.say("Subject: proof\r\n\r\n..dot\r\n.", "250 2.0.0 stored as .*")
		select {
		case got := <-test.Stored():
			if !strings.HasSuffix(string(got.Text), "\r\nSubject: proof\r\n\r\n.dot\r\n") || !strings.Contains(string(got.Text), "from mx.example.net ([127.0.0.1])") {
				t.Errorf("stored %q", got.Text)
			}
			if r := got.Envelope.Recipients; len(r) != 1 || r[0].Path != test.Recipient() || got.Envelope.Client.Addr.Port() == 0 {
				t.Errorf("stored with %+v", got.Envelope)
			}
			if _, err := f.spool.Load(got.Envelope.ID); !errors.Is(err, spool.ErrNotFound) {
				t.Errorf("it is still there: %v", err)
			}
		default:
			t.Error("nobody was told before the 250")
		}
		p.say("MAIL FROM:<>", "421 .*") // one is enough
	}
	if open := f.server.Registry().Open(); open != 0 {
		t.Errorf("%d clients", open)
	}
	if got := f.accepted(); len(got) != 0 {
		t.Errorf("the queue was given %d messages", len(got))
	}
	log.Close()
	if lines.Len() > 0 {
		t.Errorf("logged: %s", lines.String())
	}
}

// Nobody gets anything by what makes a self-test: not by a token without its
// connection, nor from a connection without its token, nor by a name of .invalid,
// nor by a PROXY header.
func TestSelfTestOfAStranger(t *testing.T) {
	t.Parallel()
	set := settings()
	set.Rules.RequireTLS = false
	set.Rules.Domains = policy.NewDomains([]policy.Domain{{Name: "example.net"}, {Name: "*.invalid"}})
	f := serve(t, set, spool.Options{})
	_, test := f.selfTest()

	p := f.dial()
	p.say("EHLO stranger", "250 .*")
	p.say("MAIL FROM:<a@b.example>", "250 .*")
	p.say("RCPT TO:<"+test.Recipient().String()+">", "250 .*") // the operator takes mail for *.invalid, and so it is mail
	p.say("DATA", "354 .*")
	p.say("Subject: mine\r\n\r\n.", "250 .*")
	if got := f.accepted(); len(got) != 1 {
		t.Fatalf("%d messages", len(got))
	}
	select {
	case <-test.Stored():
		t.Error("a stranger's message passed for the self-test")
	default:
	}

	p, test = f.selfTest()
	p.want("220 .*")
	p.say("EHLO wrong", "250 .*")
	p.say("MAIL FROM:<>", "250 .*")
	for _, to := range []string{"x@proof.invalid", "@proof.invalid", "postmaster", "a@example.net", strings.ToLower(test.Recipient().Local) + "@proof.invalid", test.Recipient().Local + "@other.invalid", test.Recipient().Local[1:] + "@proof.invalid"} {
		p.say("RCPT TO:<"+to+">", "5.*")
	}
	p.say("DATA", "503 .*")

	p, test = f.selfTest()
	p.want("220 .*")
	test.Close() // given up
	p.say("EHLO late", "250 .*")
	p.say("MAIL FROM:<>", "(4|5).*")
}

// A header that names the place where a test comes from makes no test.
func TestSelfTestByProxy(t *testing.T) {
	t.Parallel()
	set := settings()
	set.Wire.Limits.ProxyFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	f := serve(t, set, spool.Options{})
	from := netip.MustParseAddrPort("127.0.0.1:1")
	test := f.server.options.Own.Expect(from)
	defer test.Close()
	p := f.connect(func(netip.AddrPort) {})
	p.send(fmt.Sprintf("PROXY TCP4 %s 127.0.0.1 %d 25\r\n", from.Addr(), from.Port()))
	p.want("220 .*")
	p.say("EHLO stranger", "250 .*")
	p.say("MAIL FROM:<a@b.example>", "250 .*")
	p.say("RCPT TO:<"+test.Recipient().String()+">", "550 5.7.1 .*")

	own, _ := f.selfTest() // has no header
	own.want("220 .*")
}

// Why a test was not stored is told by the error itself.
func TestSelfTestNotStored(t *testing.T) {
	t.Parallel()
	f := serve(t, settings(), spool.Options{})
	p, test := f.selfTest()
	p.want("220 .*")
	p.say("EHLO mx.example.net", "250 .*")
	p.say("MAIL FROM:<>", "250 .*")
	p.say("RCPT TO:<"+test.Recipient().String()+">", "250 .*")
	if err := f.spool.Close(); err != nil {
		t.Fatal(err)
	}
	p.say("DATA", "451 .*")
	if got := <-test.Stored(); !errors.Is(got.Err, spool.ErrClosed) {
		t.Errorf("%+v", got)
	}
}
