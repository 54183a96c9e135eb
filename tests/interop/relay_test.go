package interop

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// routedForms are recipients of example.net that ask core to pass the message on to world.example
// (RFC 5321 section 5.1 calls them explicit source routes). A Postfix with its default settings does
// that for a client that it trusts.
var routedForms = []string{
	`victim%world.example@example.net`,
	`world.example!victim@example.net`,
	`"victim@world.example"@example.net`,
	`b+x%world.example@example.net`,
	`"victim\@world.example"@example.net`,
	`"victim%world.example"@example.net`,
	`"victim%world\.example"@example.net`,
	`"world.example!victim"@example.net`,
	`victim%world.example%example.net@example.net`,
	`example.net!world.example!victim@example.net`,
	`world.example!victim%example.net@example.net`,
	`"victim@world.example@example.net"@example.net`,
	`"@example.net:victim@world.example"@example.net`,
	`postmaster%world.example@example.net`,
	`"postmaster@world.example"@example.net`,
	`victim%world.example@EXAMPLE.NET`,
	`@example.net,@mx.example.net:victim%world.example@example.net`,
}

// trustingCore is a Postfix that trusts the edge, holds example.net for a local domain, and sends
// what is not local to world. settings go before its own.
func trustingCore(t *testing.T, world *postfix, settings map[string]string) *postfix {
	t.Helper()
	core := &postfix{hostname: "core.test", settings: map[string]string{
		"mydestination":        "$myhostname, localhost, example.net",
		"local_transport":      "virtual",
		"local_recipient_maps": "inline:{b=x, postmaster=x}",
		"virtual_mailbox_maps": "static:local/", "virtual_mailbox_domains": "",
		"recipient_delimiter": "+",
		"relayhost":           fmt.Sprintf("[127.0.0.1]:%d", portOf(t, world.addr)),
	}}
	maps.Copy(core.settings, settings)
	core.start(t)
	return core
}

// newWorld is a Postfix that takes mail for any address into one mailbox.
func newWorld(t *testing.T) *postfix {
	t.Helper()
	world := &postfix{hostname: "world.test", settings: map[string]string{
		"virtual_mailbox_maps": "static:world/", "virtual_mailbox_domains": "static:all",
		"allow_percent_hack": "no", "swap_bangpath": "no",
	}}
	world.start(t)
	return world
}

// idle waits until the queue of Postfix is empty.
func (p *postfix) idle(t testing.TB) {
	t.Helper()
	var out []byte
	if !kit.Within(patience, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		out, _ = exec.CommandContext(ctx, "postqueue", "-c", p.config, "-p").CombinedOutput()
		return strings.Contains(string(out), "Mail queue is empty")
	}) {
		t.Fatalf("the queue of %s does not empty:\n%s", p.hostname, out)
	}
}

// said holds what the edge answered to MAIL, RCPT and the end of the message.
type said struct{ mail, rcpt, data string }

// submit sends a small message in a session of its own, as far as the edge lets it. Its subject is
// the recipient.
func submit(t testing.TB, edge, sender, recipient string) (s said) {
	t.Helper()
	conn, err := net.Dial("tcp", edge)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	command := func(line string) (reply string) {
		if line != "" {
			if _, err := conn.Write([]byte(line + "\r\n")); err != nil {
				t.Fatal(err)
			}
		}
		for {
			text, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("after %q: %v", line, err)
			}
			if len(text) > 3 && text[3] == ' ' {
				return strings.TrimSpace(text)
			}
		}
	}
	command("")
	command("EHLO client.example.org")
	if s.mail = command("MAIL FROM:<" + sender + "> SMTPUTF8"); s.mail[0] != '2' {
		return s
	}
	if s.rcpt = command("RCPT TO:<" + recipient + ">"); s.rcpt[0] == '2' {
		command("DATA")
		s.data = command("Subject: " + recipient + "\r\nFrom: a@example.org\r\n\r\nx\r\n.")
	}
	command("QUIT")
	return s
}

// local and taken name the Maildirs of trustingCore and newWorld.
func (p *postfix) local() string { return filepath.Join(p.dir, "mail", "local") }
func (p *postfix) taken() string { return filepath.Join(p.dir, "mail", "world") }

// escaped returns the subjects of what reached the world.
func (p *postfix) escaped(t testing.TB) (subjects []string) {
	t.Helper()
	for _, name := range filesIn(t, p.taken()) {
		subjects = append(subjects, load(t, p.taken(), name).subject())
	}
	slices.Sort(subjects)
	return subjects
}

// TestNoRelayThroughATrustingCore runs the edge in front of a Postfix that has its default settings
// and the edge in mynetworks. It relays each of the forms, and the edge hands over none of them.
func TestNoRelayThroughATrustingCore(t *testing.T) {
	t.Parallel()
	world := newWorld(t)
	core := trustingCore(t, world, nil)
	p := pop.Start(t, pop.Options{Core: core.addr})
	settled := func() {
		t.Helper()
		p.AwaitEmpty(patience)
		core.idle(t)
		world.idle(t)
	}

	for _, form := range routedForms {
		if s := submit(t, p.SMTP, "a@example.org", form); !strings.HasPrefix(s.rcpt, "550 5.1.3 restricted characters in address") {
			t.Errorf("%s: %+v", form, s)
		}
	}
	for form, want := range map[string]string{
		`victim％world.example@example.net`:        "550 5.1.3 ",
		`"victim＠world.example"@example.net`:      "550 5.1.3 ",
		`"node::victim"@example.net`:              "550 5.1.3 ",
		`"|/bin/sh"@example.net`:                  "550 5.1.3 ",
		`/etc/passwd@example.net`:                 "550 5.1.3 ",
		`-x@example.net`:                          "550 5.1.3 ",
		`".."@example.net`:                        "550 5.1.3 ",
		`victim@world.example`:                    "550 5.7.1 relay access denied",
		`victim%world.example@mx.example.net`:     "550 5.7.1 relay access denied",
		`victim%world.example@core.test`:          "550 5.7.1 relay access denied",
		`victim%world.example@localhost`:          "550 5.7.1 relay access denied",
		`victim%world.example@[127.0.0.1]`:        "550 5.7.1 relay access denied",
		`victim@[127.0.0.1]`:                      "550 5.7.1 relay access denied",
		`@example.net:victim@world.example`:       "550 5.7.1 relay access denied",
		`victim@world.example@example.net`:        "501 ",
		`victim@example.net@world.example`:        "501 ",
		`victim%world.example@example.net.`:       "501 ",
		`victim%world.example`:                    "501 ",
		`world.example!victim`:                    "501 ",
		`@world.example:b@example.net`:            "250 ", // b's, and the route is dropped
		`@world.example,@core.test:b@ｅxample.net`: "250 ", // and so is the look-alike
		`b+detail=world.example@example.net`:      "250 ",
	} {
		if s := submit(t, p.SMTP, "a@example.org", form); !strings.HasPrefix(s.rcpt, want) || want == "250 " && s.data[0] != '2' {
			t.Errorf("%s: %+v, want %s", form, s, want)
		}
	}
	// What fails at core goes back to its sender, by way of core.
	for _, form := range append(slices.Clone(routedForms), `victim%world.example@mx.example.net`, `victim%world.example@localhost`, `victim%world.example@[127.0.0.1]`) {
		if s := submit(t, p.SMTP, form, "gone@example.net"); !strings.HasPrefix(s.mail, "550 5.1.7 restricted characters in address") {
			t.Errorf("from %s: %+v", form, s)
		}
	}
	mailbox(t, core.local(), 3)
	settled()
	if got := world.escaped(t); len(got) > 0 {
		t.Errorf("in the world: %q", got)
	}
	if refused := strings.Count(p.Edge().Log(), "event=refused"); refused < 2*len(routedForms) {
		t.Errorf("the mail log has %d refusals", refused)
	}

	// With the key set all of them get there, so the harness would have seen one above.
	p.Rewrite("sender_routing = \"allow\"\n")
	p.Reload()
	if !strings.Contains(p.Edge().Log(), "sender-specified routing is allowed") {
		t.Error("the log does not warn of the key")
	}
	for _, form := range routedForms {
		if s := submit(t, p.SMTP, "a@example.org", form); !strings.HasPrefix(s.data, "250 ") {
			t.Errorf("%s: %+v", form, s)
		}
	}
	if s := submit(t, p.SMTP, "victim%world.example@example.net", "gone@example.net"); !strings.HasPrefix(s.data, "250 ") {
		t.Errorf("%+v", s)
	}
	want := slices.Sorted(slices.Values(append(slices.Clone(routedForms), returnedSubject)))
	kit.Within(patience, func() bool { return len(world.escaped(t)) >= len(want) })
	settled()
	if got := world.escaped(t); !slices.Equal(got, want) {
		t.Errorf("in the world: %q, want %q", got, want)
	}
}

// returnedSubject is that of a failure notice.
const returnedSubject = "Your message could not be delivered"

// TestCoreThatDoesNotRoute checks the settings of Postfix in docs/operations.md, without and with the
// restriction. Core relays none of the forms, though the edge accepts them and they come from the
// null sender, as notifications do. It still relays notifications.
func TestCoreThatDoesNotRoute(t *testing.T) {
	t.Parallel()
	rewriting := map[string]string{"allow_percent_hack": "no", "swap_bangpath": "no", "resolve_dequoted_address": "no"}
	restricted := maps.Clone(rewriting)
	restricted["smtpd_relay_restrictions"] = "permit_auth_destination, check_sender_access inline:{<>=permit_mynetworks}, reject"
	for name, settings := range map[string]map[string]string{"rewriting": rewriting, "restricted": restricted} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			world := newWorld(t)
			core := trustingCore(t, world, settings)
			p := pop.Start(t, pop.Options{Core: core.addr, Ingress: "sender_routing = \"allow\"\n"})
			for _, form := range append(slices.Clone(routedForms), "b@example.net") {
				if s := submit(t, p.SMTP, "", form); !strings.HasPrefix(s.data, "250 ") {
					t.Errorf("%s: %+v", form, s)
				}
			}
			if s := submit(t, p.SMTP, "a@example.org", "gone@example.net"); !strings.HasPrefix(s.data, "250 ") {
				t.Errorf("%+v", s)
			}
			if got := mailbox(t, world.taken(), 1)[0]; got.subject() != returnedSubject {
				t.Errorf("the world has got:\n%s", got.raw)
			}
			p.AwaitEmpty(patience)
			core.idle(t)
			world.idle(t)
			mailbox(t, world.taken(), 1)
			if files := filesIn(t, core.local()); len(files) == 0 {
				t.Error("core has not got what is its own")
			}
		})
	}
}
