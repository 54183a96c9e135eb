package policy

import (
	"strings"
	"testing"
	"unicode/utf8"

	"anymx/edge/mail"
)

var (
	// routingForms ask core to relay; leaderForms may name a program, a file or an option.
	routingForms = []string{
		`u%other.example`, `u%other.example%example.net`, `u%`, `%u`, `u+x%other.example`, `postmaster%other.example`,
		`other.example!u`, `a!b!u`, `!u`, `u!`, `other.example!u%third.example`,
		`"u@other.example"`, `"u\@other.example"`, `"@other.example:u"`, `"u@"`, `"@"`, `"u%other.example"`, `"postmaster@other.example"`,
		`"u%other\.example"`, `"u\%other.example"`, `"u\"@other.example"`, `"a b@other.example"`, `"<u@other.example>"`,
		`"node::u"`, `"host:u"`, `":include:/etc/passwd"`,
		`u％other.example`, `u﹪other.example`, `other.example！u`, `"u＠other.example"`, `u＠other.example`, `u﹫other.example`,
		`ü%other.example`, `jörg!u`, `other‼u`, `"node：：u"`,
	}
	leaderForms = []string{
		`|sh`, `"|/bin/sh -c x"`, `/etc/passwd`, `"/dev/null"`, `/`, `"."`, `".."`, `".forward"`, `"../x"`, `-f`, `--help`, `-`,
		`｜sh`, `／etc`, `．x`, `…x`, `－f`,
	}
	// plainForms look odd, but only name a mailbox.
	plainForms = []string{
		`u`, `u+x`, `u+x=other.example`, `bounce+u=other.example`, `SRS0=HHH=TT=other.example=u`, `prvs=1234567890=u`, `o'brien`,
		`a|b`, `a/b`, `a-b`, `a.b`, `a-`, `_u`, `~u`, `+u`, `#u`, `$u`, `&u`, `*`, `?`, `^u`, `{u}`, "`u`", `=u`,
		`"a b"`, `"a,b"`, `"a.."`, `" u"`, `"a;b"`, `"a\\b"`, `"a\"b"`, `"(a)"`, `jörg`, `用户`, `ユーザー`, `a…`, `½u`,
	}
)

func TestRestricted(t *testing.T) {
	parse := func(form string) string { return mustPath(t, form+"@example.net").Local }
	for _, form := range routingForms {
		if local := parse(form); !routes(local) || !restricted(local) {
			t.Errorf("%s is not recognized as routing", form)
		}
	}
	for _, form := range leaderForms {
		if local := parse(form); routes(local) || !restricted(local) {
			t.Errorf("%s: routes %v, restricted %v", form, routes(local), restricted(local))
		}
	}
	for _, form := range plainForms {
		if restricted(parse(form)) {
			t.Errorf("%s is restricted", form)
		}
	}
	if restricted("") {
		t.Error("the empty local part is restricted")
	}
}

// compatible are all characters of Unicode 16 whose NFKC form contains one of "%!@:", or begins with
// one of "|/.-", each with that form (UnicodeData.txt, sixth field).
var compatible = map[rune]string{
	0xff05: "%", 0xfe6a: "%", 0xff01: "!", 0xfe57: "!", 0xfe15: "!", 0x203c: "!!", 0x2048: "?!", 0x2049: "!?",
	0xff20: "@", 0xfe6b: "@", 0xff1a: ":", 0xfe55: ":", 0xfe13: ":", 0x2a74: "::=",
	0xff5c: "|", 0xff0f: "/", 0xff0d: "-", 0xfe63: "-",
	0xff0e: ".", 0xfe52: ".", 0x2024: ".", 0x2025: "..", 0xfe30: "..", 0x2026: "...", 0xfe19: "...",
}

// normalized returns s with each of compatible replaced.
func normalized(s string) string {
	var b strings.Builder
	for _, r := range s {
		if form, ok := compatible[r]; ok {
			b.WriteString(form)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// TestRestrictedAfterNormalization checks every character of Unicode.
func TestRestrictedAfterNormalization(t *testing.T) {
	for r := rune(0); r <= utf8.MaxRune; r++ {
		mapped := normalized(string(r))
		if got, want := isRouting(r), strings.ContainsAny(mapped, "%!@:"); got != want {
			t.Errorf("%U becomes %q: routing %v", r, mapped, got)
		}
		if got, want := isLeader(r), strings.IndexAny(mapped, "|/.-") == 0; got != want {
			t.Errorf("%U becomes %q: leader %v", r, mapped, got)
		}
	}
}

// TestRestrictedRecipients asks the rules about each form under each kind of domain.
func TestRestrictedRecipients(t *testing.T) {
	domains := NewDomains([]Domain{
		{Name: "any.example"}, {Name: "*.wild.example"},
		{Name: "listed.example", Recipients: mustRecipients(t, "u\na%b\n\"c@d\"\n/G=jo/S=doe/\njo\n", "listed.example")},
	})
	refuse, allow := Rules{Hostname: "mx.test", Domains: domains}, Rules{Hostname: "mx.test", Domains: domains, SenderRouting: true}
	check := func(rules *Rules, address, want string) {
		t.Helper()
		if _, got := rules.Rcpt(Rcpt{Path: mustPath(t, address), SMTPUTF8: true}); !matches(got, want) {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	for _, form := range append(routingForms, leaderForms...) {
		for _, domain := range []string{"any.example", "ANY.example", "a.wild.example"} {
			check(&refuse, form+"@"+domain, "550 5.1.3 restricted characters in address")
			check(&allow, form+"@"+domain, "")
		}
		check(&refuse, form+"@listed.example", "550 5.1.3 ")
		for _, domain := range []string{"other.example", "mx.test", "[127.0.0.1]"} {
			check(&refuse, form+"@"+domain, "550 5.7.1 relay access denied")
			check(&allow, form+"@"+domain, "550 5.7.1 relay access denied")
		}
	}
	// What the operator lists is a mailbox, and nothing else that contains it is.
	for _, form := range []string{`a%b`, `A%B`, `"c@d"`, `/G=jo/S=doe/`} {
		check(&refuse, form+"@listed.example", "")
		check(&refuse, form+"@any.example", "550 5.1.3 ")
	}
	for _, form := range []string{`a%b+x`, `a%b%c`, `u+a%b`, `"u+c@d"`, `"jo+x@d"`, `/G=jo/S=doe/+x`} {
		check(&refuse, form+"@listed.example", "550 5.1.3 ")
	}
	check(&allow, `u+x%y@listed.example`, "")
	check(&allow, `x%y@listed.example`, "550 5.1.1 ")
	for _, form := range plainForms {
		check(&refuse, form+"@any.example", "")
	}
}

// TestRestrictedSenders covers the sender, which core routes a notification to where it takes the
// sender's domain for its own.
func TestRestrictedSenders(t *testing.T) {
	domains := NewDomains([]Domain{{Name: "example.net"}, {Name: "*.wild.example"}})
	refuse, allow := Rules{Hostname: "mx.test", Domains: domains}, Rules{Hostname: "mx.test", Domains: domains, SenderRouting: true}
	check := func(rules *Rules, sender mail.Path, want string) {
		t.Helper()
		if got := rules.Mail(Mail{Sender: sender, SMTPUTF8: true}); !matches(got, want) {
			t.Errorf("%s: %q, want %q", sender, got, want)
		}
	}
	for _, form := range routingForms {
		check(&refuse, mustPath(t, form+"@other.example"), "")
	}
	for _, domain := range []string{"example.net", "EXAMPLE.net", "ｅxample.net", "a.wild.example", "mx.test", "localhost", "[127.0.0.1]"} {
		for _, form := range routingForms {
			check(&refuse, mustPath(t, form+"@"+domain), "550 5.1.7 restricted characters in address")
			check(&allow, mustPath(t, form+"@"+domain), "")
		}
		for _, form := range append(leaderForms, plainForms...) {
			check(&refuse, mustPath(t, form+"@"+domain), "")
		}
	}
	check(&refuse, mail.Path{}, "")
	check(&refuse, mustPath(t, "postmaster"), "")
}

// FuzzRestricted checks that no recipient is accepted by default from which core could read a second
// address, whatever the grammar makes of the argument of RCPT.
func FuzzRestricted(f *testing.F) {
	for _, forms := range [][]string{routingForms, leaderForms, plainForms} {
		for _, form := range forms {
			f.Add("<" + form + "@example.net>")
		}
	}
	f.Add("<@other.example,@third.example:u%x@example.net>")
	f.Add("u@other.example@example.net")
	f.Add("<postmaster>")
	f.Add("<b@ｅxample.net>")
	f.Add("<postmaster@ｍx.test>")
	rules := Rules{Hostname: "mx.test", Domains: NewDomains([]Domain{{Name: "example.net"}})}
	f.Fuzz(func(t *testing.T, arg string) {
		p, _, err := mail.CutPath(arg)
		if err != nil {
			return
		}
		to, reply := rules.Rcpt(Rcpt{Path: p, SMTPUTF8: true})
		if reply.Code != 0 {
			return
		}
		local := normalized(to.Local)
		if strings.ContainsAny(local, "%!@:") || strings.ContainsAny(local[:1], "|/.-") {
			t.Fatalf("%q is accepted: to %q", arg, to)
		}
		if d := fold(to.Domain); d != "example.net" && d != "mx.test" {
			t.Fatalf("%q is accepted: to %q", arg, to)
		}
	})
}
