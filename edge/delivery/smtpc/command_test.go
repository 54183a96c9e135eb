package smtpc

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"anymx/edge/mail"
)

// TestXForwardLines checks that commands have at most 512 bytes, and that no attribute is lost.
func TestXForwardLines(t *testing.T) {
	env := &mail.Envelope{Client: mail.Client{
		Name: strings.Repeat("n=", 100), Helo: strings.Repeat("h+", 200), Proto: "SMTP",
		Addr: netip.MustParseAddrPort("[::ffff:192.0.2.1]:25"),
	}}
	all := parseAttributes("NAME ADDR PORT PROTO HELO IDENT SOURCE")
	var out []byte
	for i := 0; i < len(attributeNames); {
		out, i = appendXForward(out, env, "", all, i)
	}
	lines := strings.Split(strings.TrimSuffix(string(out), "\r\n"), "\r\n")
	if len(lines) != 3 {
		t.Errorf("%d lines", len(lines))
	}
	seen := 0
	for _, line := range lines {
		words := strings.Fields(line)
		if words[0] != "XFORWARD" || len(words) < 2 {
			t.Errorf("line %q", line)
		}
		if len(line)+2 > maxForward && len(words) > 2 {
			t.Errorf("line of %d bytes", len(line))
		}
		seen += len(words) - 1
	}
	if seen != 7 || !bytes.Contains(out, []byte(" ADDR=192.0.2.1 ")) {
		t.Errorf("%d attributes in %q", seen, lines)
	}
	if out, _ := appendXForward(nil, env, "", parseAttributes("LOGIN DESTADDR"), 0); len(out) != 0 {
		t.Errorf("nothing to say, said %q", out)
	}
}

func TestORcpt(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"rfc822":                  "",
		"rfc822;":                 "",
		";a":                      "",
		"bad type;a":              "",
		"utf-8;\xff":              "",
		"rfc822;a b@c":            " ORCPT=rfc822;a+20b@c",
		"rfc822;a+b=c@d":          " ORCPT=rfc822;a+2Bb+3Dc@d",
		"X400;/c=us":              " ORCPT=X400;/c+3Dus",
		"rfc822;\u00fc@c":         " ORCPT=utf-8;\\x{FC}@c",
		"utf-8;a\\+=\r\n\x7f@c":   " ORCPT=utf-8;a\\x{5C}\\x{2B}\\x{3D}\\x{0D}\\x{0A}\\x{7F}@c",
		"rfc822;a\r\nRCPT TO:<b>": " ORCPT=rfc822;a+0D+0ARCPT+20TO:<b>",
	} {
		if got := string(appendORcpt(nil, in, false)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzCommands looks for stored text that could inject a command.
func FuzzCommands(f *testing.F) {
	f.Add("a", "example.org", "rfc822;a@b", "envid", "helo")
	f.Add("a\r\nb", "example.org\r\n", "rfc822;a\r\n", "\r\n", "\r\n")
	f.Fuzz(func(t *testing.T, local, domain, orcpt, envid, helo string) {
		path := mail.Path{Local: local, Domain: domain}
		env := &mail.Envelope{Sender: path, EnvID: envid, Client: mail.Client{Helo: helo, Name: helo, Proto: helo}}
		ext := &extensions{dsn: true, utf8: true, size: true, eightBit: true}
		var lines [][]byte
		if isSafe(path) {
			lines = append(lines, appendMail(nil, env, 1, ext, true),
				appendRcpt(nil, &mail.Recipient{Path: path, ORcpt: orcpt}, ext, true))
		}
		for i := 0; i < len(attributeNames); {
			var line []byte
			line, i = appendXForward(nil, env, "", ^attributes(0), i)
			lines = append(lines, line)
		}
		lines = append(lines, append(appendXClient(nil, &env.Client, ^attributes(0)), "\r\n"...))
		for _, line := range lines {
			if len(line) == 0 {
				continue
			}
			if !bytes.HasSuffix(line, []byte("\r\n")) || bytes.ContainsAny(line[:len(line)-2], "\r\n\x00") {
				t.Fatalf("%q", line)
			}
		}
	})
}
