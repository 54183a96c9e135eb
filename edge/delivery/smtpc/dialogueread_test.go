package smtpc

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"anymx/edge/mail"
)

func readDialogue(t *testing.T, file string) *dialogue {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialogue{
		options: Options{Hello: "edge.test", Host: "core.test", TLSMode: TLSNever, TLS: &tls.Config{RootCAs: testRoots}},
		script:  [][]turn{nil},
	}
	for i, line := range strings.Split(string(text), "\n") {
		if err := d.read(i+1, line); err != nil {
			t.Fatalf("%s:%d: %v", file, i+1, err)
		}
	}
	for i := range d.messages {
		m := &d.messages[i]
		if m.body == nil {
			m.body = []byte("Subject: x\r\n\r\nhello\r\n")
		}
		m.Body = memory(m.body)
		if i%2 == 1 {
			m.Body = stored{memory(m.body)}
		}
	}
	return d
}

func (d *dialogue) read(number int, line string) error {
	if verb, text, ok := strings.Cut(line, ": "); ok && (verb == "S" || verb == "C") {
		d.turn(turn{number, verb, text})
		return nil
	}
	verb, text, _ := strings.Cut(line, " ")
	switch verb {
	case "", "#":
	case "options":
		return d.option(strings.Fields(text))
	case "BODY", "DOTS", "SKIP", "TLS", "TLSFAIL", "CLOSE", "RESET", "HANG":
		d.turn(turn{number, verb, text})
	case "RAW":
		raw, err := strconv.Unquote(`"` + text + `"`)
		d.turn(turn{number, verb, raw})
		return err
	case "CONNECTION":
		d.script = append(d.script, nil)
	case "dial":
		d.dial = strings.TrimPrefix(text, "failed: ")
	case "mail":
		d.messages = append(d.messages, message{})
		return d.mail(strings.Fields(text))
	default:
		if len(d.messages) == 0 {
			return fmt.Errorf("%q before mail", verb)
		}
		return d.messages[len(d.messages)-1].read(verb, text)
	}
	return nil
}

func (d *dialogue) turn(step turn) {
	last := len(d.script) - 1
	d.script[last] = append(d.script[last], step)
}

func (d *dialogue) option(words []string) error {
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "lmtp":
			d.options.LMTP = true
		case "xforward":
			d.options.XForward = true
		case "xclient":
			d.options.XClient = true
		case "private":
			d.options.PrivateLink = true
		case "ignore":
			d.options.Ignore = append(d.options.Ignore, value)
		case "tls":
			d.options.TLSMode = map[string]TLSMode{"auto": TLSAuto, "require": TLSRequire}[value]
		case "host":
			d.options.TLS.ServerName = value
		case "greeting", "handshake", "command", "dataend":
			timeout, err := time.ParseDuration(value)
			if err != nil {
				return err
			}
			t := &d.options.Timeouts
			*map[string]*time.Duration{"greeting": &t.Greeting, "handshake": &t.TLS, "command": &t.Command, "dataend": &t.DataEnd}[name] = timeout
		default:
			return fmt.Errorf("option %q", name)
		}
	}
	return nil
}

func (d *dialogue) mail(words []string) error {
	id, _ := mail.ParseID("0123456789abcdef")
	env := &mail.Envelope{ID: id, Client: mail.Client{
		Addr: netip.MustParseAddrPort("192.0.2.7:4711"), Service: netip.MustParseAddrPort("198.51.100.25:25"),
		Helo: "client.example.org", Name: "client.example.org", Proto: "ESMTPS",
	}}
	for i, word := range words {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "8bit":
			env.Body = mail.Body8Bit
		case "utf8":
			env.SMTPUTF8 = true
		case "requiretls":
			env.RequireTLS = true
		case "content": // as it was scanned; "content=" is ASCII
			env.Content = mail.ContentKnown
			if strings.Contains(value, "header") {
				env.Content |= mail.ContentEightHeader
			}
			if strings.Contains(value, "body") {
				env.Content |= mail.ContentEightBody
			}
		case "local":
			env.Origin, env.Client = mail.Local, mail.Client{}
		case "v6":
			env.Client.Addr = netip.MustParseAddrPort("[2001:db8::7]:4711")
		case "longhelo":
			env.Client.Helo = strings.Repeat("h+", 100)
			env.Client.Name = strings.Repeat("n=", 100)
		case "ret":
			env.Return = map[string]mail.Return{"full": mail.ReturnFull, "headers": mail.ReturnHeaders}[value]
		case "envid":
			env.EnvID = value
		default:
			if i > 0 {
				return fmt.Errorf("mail parameter %q", word)
			}
			if word == "<>" {
				continue
			}
			path, err := mail.ParsePath(word)
			if err != nil {
				return err
			}
			env.Sender = path
		}
	}
	d.messages[len(d.messages)-1].Envelope = env
	return nil
}

func (m *message) read(verb, text string) error {
	switch verb {
	case "|":
		m.body = append(append(m.body, text...), "\r\n"...)
	case "body":
		n, err := strconv.Atoi(text)
		m.body = testBody(n)
		return err
	case "unterminated":
		m.body = bytes.TrimSuffix(m.body, []byte("\r\n"))
	case "rcpts":
		n, err := strconv.Atoi(text)
		for i := range n {
			m.addRcpt(mail.Recipient{Path: mail.Path{Local: fmt.Sprintf("r%d", i), Domain: "example.net"}})
		}
		return err
	case "rcpt":
		words := strings.Fields(text)
		var r mail.Recipient
		var err error
		if r.Path, err = mail.ParsePath(words[0]); err != nil {
			return err
		}
		for _, word := range words[1:] {
			name, value, _ := strings.Cut(word, "=")
			if name == "orcpt" {
				r.ORcpt = strings.ReplaceAll(value, "_", " ")
				continue
			}
			for _, n := range strings.Split(value, ",") {
				r.Notify |= map[string]mail.Notify{"never": mail.NotifyNever, "success": mail.NotifySuccess,
					"failure": mail.NotifyFailure, "delay": mail.NotifyDelay}[n]
			}
		}
		m.addRcpt(r)
	case "done": // a recipient who was served before
		m.Envelope.Recipients = append(m.Envelope.Recipients, mail.Recipient{Path: mail.Path{Local: "done", Domain: "example.net"}})
	case "=":
		m.want = append(m.want, text)
	case "dead", "alive":
		m.end = verb
	default:
		return fmt.Errorf("%q is nothing", verb)
	}
	return nil
}

func (m *message) addRcpt(r mail.Recipient) {
	m.Pending = append(m.Pending, len(m.Envelope.Recipients))
	m.Envelope.Recipients = append(m.Envelope.Recipients, r)
}

// testBody returns n bytes of lines, some of which begin with dots.
func testBody(n int) []byte {
	b := make([]byte, 0, n+len(testLines))
	for len(b) < n {
		b = append(b, testLines...)
	}
	b = b[:n]
	if n > 2 {
		copy(b[n-2:], "\r\n")
	}
	return b
}

var testLines = func() (b []byte) {
	for i := range 1000 {
		b = fmt.Appendf(b, "%s%d%s\r\n", strings.Repeat(".", i%3), i, strings.Repeat("x", i%70))
	}
	return b
}()
