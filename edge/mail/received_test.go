package mail

import (
	"net/mail"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
)

func testEnvelope() *Envelope {
	arrived := time.Date(2026, 11, 21, 22, 58, 52, 123e6, time.UTC)
	return &Envelope{
		ID:         NewIDs(0x1234).Next(arrived),
		Arrived:    arrived,
		Sender:     Path{"a", "example.com"},
		Recipients: []Recipient{{Path: Path{"b", "example.net"}}},
		Client: Client{
			Addr: netip.MustParseAddrPort("192.0.2.1:4711"), Helo: "helo.example", Name: "name.example",
			Proto: "ESMTPS", TLS: "TLS1.3 TLS_AES_128_GCM_SHA256",
		},
	}
}

func TestAppendReceived(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Envelope)
		want   string
	}{
		{"all", func(*Envelope) {}, `Received: from helo.example (name.example [192.0.2.1])
	(TLS1.3 TLS_AES_128_GCM_SHA256)
	by mx.example.net (anymx ams1) with ESMTPS id 06h00nbwbc0024hm
	for <b@example.net>; Sat, 21 Nov 2026 22:58:52 +0000
`},
		{"bare", func(e *Envelope) {
			e.Client = Client{Proto: "SMTP"}
			e.Recipients = append(e.Recipients, e.Recipients[0])
		}, `Received: from unknown
	by mx.example.net (anymx ams1) with SMTP id 06h00nbwbc0024hm;
	Sat, 21 Nov 2026 22:58:52 +0000
`},
		{"IPv6", func(e *Envelope) {
			e.Client.Addr = netip.MustParseAddrPort("[2001:db8::1%eth0]:25")
			e.Client.Name, e.Client.TLS, e.Client.Helo = "", "", "[IPv6:2001:db8::1]"
		}, `Received: from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])
	by mx.example.net (anymx ams1) with ESMTPS id 06h00nbwbc0024hm
	for <b@example.net>; Sat, 21 Nov 2026 22:58:52 +0000
`},
		{"IPv4 over an IPv6 socket", func(e *Envelope) {
			e.Client.Addr = netip.MustParseAddrPort("[::ffff:192.0.2.1]:25")
			e.Client.Name, e.Client.TLS = "", ""
		}, `Received: from helo.example ([192.0.2.1])
	by mx.example.net (anymx ams1) with ESMTPS id 06h00nbwbc0024hm
	for <b@example.net>; Sat, 21 Nov 2026 22:58:52 +0000
`},
		{"hostile", func(e *Envelope) {
			e.Client.Helo = "x) by mx.example.org (y\r\nSubject: z\\\"\x00é"
			e.Client.Name = "a(b"
			e.Client.TLS = "a)\r\nb"
			e.Client.Proto = "A\r\nB: C"
			e.Recipients[0].Path = Path{"a b", "example.net"}
		}, `Received: from x??by?mx.example.org??y??Subject??z????? ([192.0.2.1])
	(a???b)
	by mx.example.net (anymx ams1) with A??B??C id 06h00nbwbc0024hm
	for <"a b"@example.net>; Sat, 21 Nov 2026 22:58:52 +0000
`},
		{"long names are folded", func(e *Envelope) {
			e.Client.Helo = strings.Repeat("h", 60) + ".example"
			e.Recipients[0].Path.Local = strings.Repeat("r", 60)
		}, `Received: from ` + strings.Repeat("h", 60) + `.example
	(name.example [192.0.2.1])
	(TLS1.3 TLS_AES_128_GCM_SHA256)
	by mx.example.net (anymx ams1) with ESMTPS id 06h00nbwbc0024hm
	for <` + strings.Repeat("r", 60) + `@example.net>;
	Sat, 21 Nov 2026 22:58:52 +0000
`},
		{"only ASCII in a UTF8 protocol", func(e *Envelope) {
			e.Client.Proto, e.Client.Helo, e.Client.TLS = "UTF8SMTPS", "bücher.example", ""
			e.Client.Name = "bücher.example"
			e.Recipients[0].Path = Path{"jörg", "bücher.example"}
		}, `Received: from xn--bcher-kva.example (xn--bcher-kva.example [192.0.2.1])
	by mx.example.net (anymx ams1) with UTF8SMTPS id 06h00nbwbc0024hm;
	Sat, 21 Nov 2026 22:58:52 +0000
`},
		{"a U-label as its A-label", func(e *Envelope) {
			e.Client.Proto, e.Client.TLS, e.Client.Name = "UTF8SMTP", "", "käthe's"
			e.Recipients[0].Path = Path{"b", "bücher.example"}
		}, `Received: from helo.example ([192.0.2.1])
	by mx.example.net (anymx ams1) with UTF8SMTP id 06h00nbwbc0024hm
	for <b@xn--bcher-kva.example>; Sat, 21 Nov 2026 22:58:52 +0000
`},
		{"UTF-8 in another", func(e *Envelope) {
			e.Client.Helo, e.Client.Name, e.Client.TLS = "bücher.example", "bücher.example", ""
			e.Recipients[0].Path = Path{"jörg", "bücher.example"}
		}, `Received: from xn--bcher-kva.example (xn--bcher-kva.example [192.0.2.1])
	by mx.example.net (anymx ams1) with ESMTPS id 06h00nbwbc0024hm;
	Sat, 21 Nov 2026 22:58:52 +0000
`},
		{"not UTF-8 in a UTF8 protocol", func(e *Envelope) {
			e.Client.Proto, e.Client.Helo, e.Client.TLS, e.Client.Name = "UTF8SMTP", "b\xff\u202ea", "", ""
		}, `Received: from b????a ([192.0.2.1])
	by mx.example.net (anymx ams1) with UTF8SMTP id 06h00nbwbc0024hm
	for <b@example.net>; Sat, 21 Nov 2026 22:58:52 +0000
`},
		{"a local time is written in UTC", func(e *Envelope) {
			e.Arrived = e.Arrived.In(time.FixedZone("", 3600))
			e.Client = Client{Proto: "SMTP"}
		}, `Received: from unknown
	by mx.example.net (anymx ams1) with SMTP id 06h00nbwbc0024hm
	for <b@example.net>; Sat, 21 Nov 2026 22:58:52 +0000
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			env := testEnvelope()
			tt.change(env)
			got := string(AppendReceived(nil, env, "mx.example.net", "ams1"))
			if want := strings.ReplaceAll(tt.want, "\n", "\r\n"); got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}

// received matches any Received field once it is unfolded.
var received = regexp.MustCompile(`^Received: from \S+( \([^()\\]*\)){0,2} by mx\.example\.net \(anymx [^()\\]*\) with \S* id \S{16}( for <.*>)?; [A-Z][a-z]{2}, \d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000$`)

func checkFolded(t *testing.T, field string) string {
	t.Helper()
	if !strings.HasSuffix(field, "\r\n") {
		t.Fatalf("%q does not end its line", field)
	}
	lines := strings.Split(strings.TrimSuffix(field, "\r\n"), "\r\n")
	for i, line := range lines {
		if len(line) > maxLine || strings.ContainsAny(line, "\r\n\x00") {
			t.Fatalf("line %d of %q is too long or broken", i, field)
		}
		if i > 0 && (len(line) < 2 || line[0] != '\t' && line[0] != ' ' || strings.TrimSpace(line) == "") {
			t.Fatalf("line %d of %q is not a continuation", i, field)
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(field[:len(field)-2], "\r\n\t", " "), "\r\n", "")
}

func FuzzReceived(f *testing.F) {
	f.Add("helo.example", "name.example", "ESMTPS", "TLS1.3 X", "<b@example.net>", []byte{192, 0, 2, 1})
	f.Add("[IPv6:2001:db8::1]", "", "UTF8SMTP", "", "<jörg@bücher.example>", []byte("0123456789abcdef"))
	f.Add("x\r\n) (", "a(b", "A B", ")", `<"a\"b"@c>`, []byte(nil))
	f.Fuzz(func(t *testing.T, helo, name, proto, tls, rcpt string, addr []byte) {
		p, _, err := CutPath(rcpt)
		if err != nil {
			return
		}
		env := testEnvelope()
		env.Recipients[0].Path = p
		env.Client = Client{Helo: helo, Name: name, Proto: proto, TLS: tls}
		if a, ok := netip.AddrFromSlice(addr); ok {
			env.Client.Addr = netip.AddrPortFrom(a, 25)
		}
		got := string(AppendReceived(nil, env, "mx.example.net", "ams1"))
		flat := checkFolded(t, got)
		if !received.MatchString(flat) {
			t.Fatalf("bad trace field %q", flat)
		}
		if !isASCII(got) {
			t.Fatalf("not ASCII: %q", got)
		}
		m, err := mail.ReadMessage(strings.NewReader(got + "Subject: x\r\n\r\n"))
		if err != nil || len(m.Header) != 2 || len(m.Header["Received"]) != 1 {
			t.Fatalf("%q reads as %v (%v)", got, m, err)
		}
	})
}

func TestAppendReturnPath(t *testing.T) {
	for p, want := range map[Path]string{
		{}:               "Return-Path: <>\r\n",
		{"a", "b.c"}:     "Return-Path: <a@b.c>\r\n",
		{"a\r\nb", "c"}:  "Return-Path: <\"a??b\"@c>\r\n",
		{`a"`, "b.c"}:    "Return-Path: <\"a\\\"\"@b.c>\r\n",
		{"jörg", "ü.de"}: "Return-Path: <jörg@ü.de>\r\n",
	} {
		if got := string(AppendReturnPath(nil, p)); got != want {
			t.Errorf("%+v: %q, want %q", p, got, want)
		}
	}
}

func BenchmarkReceived(b *testing.B) {
	env := testEnvelope()
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendReceived(buf[:0], env, "mx.example.net", "ams1")
	}
}
