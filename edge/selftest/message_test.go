package selftest

import (
	"anymx/edge/ingress/own"
	"anymx/edge/mail"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestWithin(t *testing.T) {
	t.Parallel()
	for listens, want := range map[string]string{
		"0.0.0.0:25":           "[127.0.0.1:25]",
		"[::]:25":              "[[::1]:25 127.0.0.1:25]",
		"192.0.2.25:8025":      "[192.0.2.25:8025]",
		"[::ffff:192.0.2.1]:1": "[192.0.2.1:1]",
		"[fe80::1%lo]:25":      "[[fe80::1%lo]:25]",
	} {
		at := netip.MustParseAddrPort(listens)
		if got, err := within(net.TCPAddrFromAddrPort(at)); err != nil || fmt.Sprint(got) != want {
			t.Errorf("%s: %v, %v; want %s", listens, got, err, want)
		}
	}
	if _, err := within(&net.UnixAddr{Name: "x", Net: "unix"}); err == nil {
		t.Error("a unix socket passes for TCP")
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	env := &mail.Envelope{Recipients: []mail.Recipient{{Path: mail.Path{Local: "token", Domain: "proof.invalid"}}}}
	text := content("Subject: self-test\r\n\r\ntoken\r\n")
	good := func() own.Stored {
		whole := append([]byte("Received: from here\r\n\tby there\r\n"), text...)
		return own.Stored{Text: whole, Envelope: &mail.Envelope{Size: int64(len(whole)), Recipients: []mail.Recipient{{Path: mail.Path{Local: "token", Domain: "proof.invalid"}}}}}
	}
	for name, change := range map[string]func(*own.Stored){
		"":                     func(*own.Stored) {},
		"in front":             func(s *own.Stored) { s.Text = append([]byte("X-"), s.Text...) },
		"not a trace field":    func(s *own.Stored) { s.Text = text; s.Envelope.Size = text.Size() },
		"was stored":           func(s *own.Stored) { s.Text = s.Text[:len(s.Text)-1]; s.Envelope.Size-- },
		"bytes were stored":    func(s *own.Stored) { s.Envelope.Size++ },
		"stored from <a@b>":    func(s *own.Stored) { s.Envelope.Sender = mail.Path{Local: "a", Domain: "b"} },
		"stored from <> for [": func(s *own.Stored) { s.Envelope.Recipients = nil },
	} {
		got := good()
		change(&got)
		if err := compare(env, text, &got); name == "" && err != nil || name != "" && (err == nil || !strings.Contains(err.Error(), name)) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
