package node

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reloadCases are in the order of the config file.
var reloadCases = []reloadCase{
	{key: "node.region", value: `"us-east"`, observe: func(r *reloaded) string { return status(r.t, r.pop).Region }, before: "", after: "us-east"},
	{key: "node.hostname", value: `"mx2.example.net"`, observe: (*reloaded).names,
		before: "mx mx mx mx mx", after: "mx2 mx2 mx2 mx2 mx2"},
	{key: "ingress.max_message_size", value: `"1MiB"`, observe: (*reloaded).greeting, before: ".*SIZE 36700160\r\n.*", after: ".*SIZE 1048576\r\n.*"},
	{key: "ingress.max_connections", value: "1", observe: (*reloaded).second, before: "220 .*", after: "421 .*"},
	{key: "ingress.max_connections_per_prefix", value: "1", observe: (*reloaded).second, before: "220 .*", after: "421 .*"},
	{key: "ingress.max_connections_share", value: "100", with: map[string]string{"ingress.max_connections": "8", "ingress.max_connections_per_prefix": "1"},
		observe: (*reloaded).thirdNetwork, before: "421 .*", after: "220 .*"},
	{key: "ingress.reserved_connections", value: "50", with: map[string]string{"ingress.max_connections": "2"}, observe: (*reloaded).second, before: "220 .*", after: "421 .*"},
	{key: "ingress.crowded", value: "1", with: map[string]string{"ingress.max_connections": "100", "ingress.crowded_timeout": `"1s"`},
		observe: silent(""), before: "silent", after: "421.*|closed"},
	{key: "ingress.crowded_timeout", value: `"1s"`, with: map[string]string{"ingress.max_connections": "1"}, observe: silent(""), before: "silent", after: "421.*|closed"},
	{key: "ingress.max_recipients", value: "7", observe: (*reloaded).greeting, before: ".*RCPTMAX=500\r\n.*", after: ".*RCPTMAX=7\r\n.*"},
	{key: "ingress.max_envelope", value: `"16KiB"`, observe: says(slices.Concat([]string{"MAIL FROM:<>"}, recipients(40))...), before: "(250 ?){41}", after: "(250 ){5,}(452 ?)+"},
	{key: "ingress.max_errors", value: "1", observe: says("FOO", "FOO"), before: "500 500", after: "500 421"},
	{key: "ingress.max_refused_recipients", value: "1", observe: says("MAIL FROM:<>", "RCPT TO:<a@b.example>", "RCPT TO:<a@b.example>"),
		before: "250 550 550", after: "250 (550 )?421"},
	{key: "ingress.refused_delay", value: `"1s"`, observe: (*reloaded).refusals, before: "fast", after: "slow"},
	{key: "ingress.max_commands", value: "2", observe: says("NOOP", "NOOP", "NOOP"), before: "250 250 250", after: "250 .*421.*"},
	{key: "ingress.max_messages_per_connection", value: "7", observe: (*reloaded).greeting, before: ".*MAILMAX=100000 .*", after: ".*MAILMAX=7 .*"},
	{key: "ingress.max_received", value: "1", observe: data("Received: a\r\nReceived: b\r\n\r\nx"), before: "250", after: "554"},
	{key: "ingress.max_header_size", value: `"16KiB"`, observe: data(strings.Repeat("X: "+strings.Repeat("x", 900)+"\r\n", 20) + "\r\nx"), before: "250", after: "552"},
	{key: "ingress.max_header_fields", value: "100", observe: data(strings.Repeat("X: x\r\n", 200) + "\r\nx"), before: "250", after: "552"},
	{key: "ingress.bare_lf", value: `"normalize"`, observe: says("MAIL FROM:<>", "RCPT TO:<a@example.net>", "BDAT 5 LAST\r\na\nb"), before: "250 250 554", after: "250 250 250"},
	{key: "ingress.chunking", value: "false", observe: says("MAIL FROM:<>", "RCPT TO:<a@example.net>", "BDAT 0 LAST"), before: "250 250 250", after: "250 250 502"},
	{key: "ingress.max_line", value: "512", observe: says("NOOP " + strings.Repeat("x", 600)), before: "250", after: "500"},
	{key: "ingress.max_text_line", value: "1000", observe: data("\r\n" + strings.Repeat("x", 1500)), before: "250", after: "554"},
	{key: "ingress.command_timeout", value: `"1s"`, observe: silent(""), before: "silent", after: "421.*|closed"},
	{key: "ingress.data_timeout", value: `"1s"`, observe: silent("MAIL FROM:<>", "RCPT TO:<a@example.net>", "DATA"), before: "silent", after: "4.*|closed"},
	{key: "ingress.write_timeout", value: `"1s"`, observe: (*reloaded).unread, before: "held", after: "cut"},
	{key: "ingress.handshake_timeout", value: `"1s"`, observe: silent("STARTTLS"), before: "silent", after: "closed|4.*"},
	{key: "ingress.proxy_timeout", value: `"1s"`, with: map[string]string{"ingress.proxy_protocol_from": `["127.0.0.1/32"]`},
		observe: (*reloaded).banner, before: "silent", after: "closed"},
	{key: "ingress.session_timeout", value: `"1s"`, observe: (*reloaded).lasting, before: "250", after: "421"},
	{key: "ingress.banner_delay", value: `"2s"`, observe: (*reloaded).bannerTime, before: "at once", after: "later"},
	{key: "ingress.min_rate", value: `"1MiB"`, with: map[string]string{"ingress.min_rate_grace": `"0s"`}, observe: (*reloaded).slow, before: "silent", after: "4.*|closed"},
	{key: "ingress.min_rate_grace", value: `"0s"`, with: map[string]string{"ingress.min_rate": `"1MiB"`}, observe: (*reloaded).slow, before: "silent", after: "4.*|closed"},
	{key: "ingress.proxy_protocol_from", value: `["127.0.0.1/32"]`, observe: (*reloaded).banner, before: "220 .*", after: "silent|closed"},
	{key: "ingress.tls_cert", value: "PAIR", observe: (*reloaded).certificate, before: "first.example", after: "second.example"},
	{key: "ingress.tls_key", value: "PAIR", observe: (*reloaded).certificate, before: "first.example", after: "second.example"},
	{key: "ingress.tls_min_version", value: `"1.3"`, observe: (*reloaded).tls12, before: "shaken", after: "refused"},
	{key: "ingress.starttls_required", value: "true", observe: says("MAIL FROM:<>"), before: "250", after: "530"},
	{key: "ingress.sender_routing", value: `"allow"`, observe: says("MAIL FROM:<>", "RCPT TO:<a%b@example.net>"), before: "250 550", after: "250 250"},
	{key: "domain.name", value: `"other.example"`, observe: says("MAIL FROM:<>", "RCPT TO:<a@other.example>"), before: "250 550", after: "250 250"},
	{key: "domain.recipients", value: "LIST", observe: says("MAIL FROM:<>", "RCPT TO:<bob@example.net>"), before: "250 250", after: "250 550"},
	{key: "core.protocol", value: `"lmtp"`, observe: (*reloaded).delivery, before: ".*one EHLO .*", after: ".*one LHLO .*"},
	{key: "core.addresses", value: "OTHER CORE", observe: (*reloaded).delivery, before: ".*one MAIL .*", after: ".*two MAIL .*"},
	{key: "core.messages_per_connection", value: "1", observe: (*reloaded).connections, before: "[01]", after: "2"},
	{key: "core.connect_timeout", value: `"1s"`, with: map[string]string{"core.addresses": "HANGING AND OTHER"},
		observe: (*reloaded).around, before: "waits", after: "delivered"},
	{key: "core.command_timeout", value: `"1s"`, observe: stalled("MAIL"), before: "waits", after: "gone"},
	{key: "core.data_timeout", value: `"1s"`, observe: stalled("."), before: "waits", after: "gone"},
	{key: "core.idle_timeout", value: `"0s"`, observe: (*reloaded).idle, before: "stays", after: "quits"},
	{key: "core.ehlo_interval", value: `"1s"`, observe: (*reloaded).asked, before: "not asked", after: "asked"},
	{key: "core.starttls", value: `"require"`, observe: (*reloaded).delivered, before: "delivered", after: "waits"},
	{key: "core.xclient", value: `"never"`, observe: (*reloaded).delivery, before: ".*one XFORWARD .*", after: "[^X]*"},
	{key: "log.level", value: `"error"`, observe: (*reloaded).loggedReload, before: "logged", after: "silent"},
	{key: "log.sessions", value: "false", observe: (*reloaded).logged, before: "logged", after: "silent"},
	// The last: the address is not attempted again for a long time after it.
	{key: "core.backoff_max", value: `"1h"`, observe: (*reloaded).attempts, before: "often", after: "seldom"},
}

func writeFile(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *reloaded) greeting() string { return r.talk("EHLO a.example")[1] }
func (r *reloaded) banner() string   { return r.talk()[0] }

// second returns the banner of a second connection while a first is open.
func (r *reloaded) second() string {
	conn, in := r.connect()
	defer conn.Close()
	r.reply(conn, in)
	return r.banner()
}

// recipients are n commands with a long ORCPT each.
func recipients(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("RCPT TO:<a%d@example.net> ORCPT=rfc822;%s", i, strings.Repeat("x", 400)))
	}
	return lines
}

// thirdNetwork returns the banner of a client whose /16 has two connections already, each from a /24 of
// its own.
func (r *reloaded) thirdNetwork() string {
	r.t.Helper()
	banner := ""
	for third := range byte(3) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, third, 9)}, Timeout: 10 * time.Second}
		conn, err := d.Dial("tcp", r.pop.SMTP)
		if err != nil {
			r.t.Fatal(err)
		}
		defer conn.Close()
		banner = r.reply(conn, bufio.NewReader(conn))
	}
	return banner
}

// names returns the host names in banner, EHLO reply, Received, EHLO to core and Reporting-MTA,
// without their common suffix.
func (r *reloaded) names() string {
	mark := r.core.mark()
	replies := r.talk("EHLO a.example", "MAIL FROM:<s@elsewhere.example>", "RCPT TO:<a@example.net>", "DATA", "Subject: x\r\n\r\nx\r\n.")
	r.core.await(mark, "one > .", 20*time.Second)
	heard := strings.ReplaceAll(r.core.since(mark), "\t", " ")
	field := func(text, before string) string {
		_, rest, _ := strings.Cut(text, before)
		name, _, _ := strings.Cut(rest, ".example.net")
		return name
	}
	return strings.Join([]string{
		field(replies[0], "220 "), field(replies[1], "250-"), field(heard, " by "), field(heard, "one EHLO "), r.reporting(),
	}, " ")
}

// reporting returns the name in a notification about a recipient that core rejects.
func (r *reloaded) reporting() string {
	mark := r.core.mark()
	r.talk("EHLO a.example", "MAIL FROM:<s@elsewhere.example>", "RCPT TO:<gone@example.net>", "DATA", "Subject: x\r\n\r\nx\r\n.")
	if !r.core.await(mark, "Reporting-MTA: dns; ", 20*time.Second) {
		return "no notification"
	}
	_, rest, _ := strings.Cut(r.core.since(mark), "Reporting-MTA: dns; ")
	name, _, _ := strings.Cut(rest, ".example.net")
	return name
}

// refusals returns how long the fourth rejected recipient waits for its reply.
func (r *reloaded) refusals() string {
	begun := time.Now()
	refused := "RCPT TO:<a@b.example>"
	r.talk("EHLO a.example", "MAIL FROM:<>", refused, refused, refused, refused, refused)
	if time.Since(begun) > time.Second {
		return "slow"
	}
	return "fast"
}

// silent observes what a client receives if it sends lines and then nothing.
func silent(lines ...string) func(*reloaded) string {
	return func(r *reloaded) string {
		conn, in := r.connect()
		r.reply(conn, in)
		for _, line := range append([]string{"EHLO a.example"}, lines...) {
			if line != "" {
				fmt.Fprint(conn, line+"\r\n")
				r.reply(conn, in)
			}
		}
		return r.reply(conn, in)
	}
}

// lasting returns the reply to a command after more than a second.
func (r *reloaded) lasting() string {
	conn, in := r.connect()
	r.reply(conn, in)
	time.Sleep(1100 * time.Millisecond) // the test depends on the age of the session
	fmt.Fprint(conn, "NOOP\r\n")
	return r.reply(conn, in)[:3]
}

func (r *reloaded) bannerTime() string {
	begun := time.Now()
	conn, in := r.connect()
	r.window = 20 * time.Second
	r.reply(conn, in)
	if time.Since(begun) > 1900*time.Millisecond {
		return "later"
	}
	return "at once"
}

// unread sends commands without reading the replies.
func (r *reloaded) unread() string {
	conn, _ := r.connect()
	_ = conn.SetDeadline(time.Now().Add(max(r.window, 3*time.Second)))
	many := []byte(strings.Repeat("NOOP\r\n", 1000))
	for {
		if _, err := conn.Write(many); errors.Is(err, os.ErrDeadlineExceeded) {
			return "held"
		} else if err != nil {
			return "cut"
		}
	}
}

// slow sends a message byte by byte.
func (r *reloaded) slow() string {
	conn, in := r.connect()
	r.reply(conn, in)
	for _, line := range []string{"EHLO a.example", "MAIL FROM:<>", "RCPT TO:<a@example.net>", "DATA"} {
		fmt.Fprint(conn, line+"\r\n")
		r.reply(conn, in)
	}
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				_, _ = io.WriteString(conn, "x\r\n")
			}
		}
	}()
	return r.reply(conn, in)
}

func (r *reloaded) certificate() string { return shown(r.t, r.pop.SMTP) }

func (r *reloaded) tls12() string {
	conn, in := r.connect()
	r.reply(conn, in)
	fmt.Fprint(conn, "EHLO a.example\r\n")
	r.reply(conn, in)
	fmt.Fprint(conn, "STARTTLS\r\n")
	r.reply(conn, in)
	if tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}).Handshake() != nil {
		return "refused"
	}
	return "shaken"
}

// send sends a message and returns its subject.
func (r *reloaded) send() string {
	r.serial++
	subject := fmt.Sprintf("reload-%d", r.serial)
	r.talk("EHLO a.example", "MAIL FROM:<>", "RCPT TO:<a@example.net>", "DATA", "Subject: "+subject+"\r\n\r\nx\r\n.")
	return subject
}

// delivery returns everything that core receives for a message.
func (r *reloaded) delivery() string {
	mark := r.core.mark()
	r.core.await(mark, "> Subject: "+r.send(), 20*time.Second)
	return r.core.since(mark)
}

func (r *reloaded) delivered() string {
	mark := r.core.mark()
	limit := 20 * time.Second
	if r.changed {
		limit = 3 * time.Second
	}
	if r.core.await(mark, "> Subject: "+r.send(), limit) {
		return "delivered"
	}
	return "waits"
}

// around observes whether core gets a message if its first address hangs.
func (r *reloaded) around() string {
	mark := r.core.mark()
	if r.core.await(mark, "> Subject: "+r.send(), r.window) {
		return "delivered"
	}
	return "waits"
}

// attempts observes how often the edge dials an address that closes each connection.
func (r *reloaded) attempts() string {
	r.core.behave("open")
	mark := r.core.mark()
	r.send()
	limit := 20 * time.Second
	if r.changed {
		limit = 3 * time.Second
	}
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if strings.Count(r.core.since(mark), "one open") >= 10 {
			return "often"
		}
	}
	return "seldom"
}

// hanging returns an address that answers no SYN, because its accept queue is full.
func hanging(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for range 10 {
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
	t.Fatal("the queue of connections does not fill")
	return ""
}

// connections returns how many connections core gets for two messages.
func (r *reloaded) connections() string {
	mark := r.core.mark()
	for range 2 {
		r.core.await(mark, "> Subject: "+r.send(), 20*time.Second)
	}
	return fmt.Sprint(strings.Count(r.core.since(mark), " open\n"))
}

// stalled observes whether a connection ends if core does not answer verb.
func stalled(verb string) func(*reloaded) string {
	return func(r *reloaded) string {
		r.core.behave(verb)
		mark := r.core.mark()
		subject := r.send()
		if verb == "." {
			r.core.await(mark, "> Subject: "+subject, 20*time.Second)
		} else {
			r.core.await(mark, "one "+verb, 20*time.Second)
		}
		mark = r.core.mark()
		if r.core.await(mark, "one gone", r.window) {
			return "gone"
		}
		return "waits"
	}
}

// idle observes whether an idle connection ends.
func (r *reloaded) idle() string {
	mark := r.core.mark()
	r.core.await(mark, "> Subject: "+r.send(), 20*time.Second)
	if r.core.await(mark, "one QUIT", r.window) {
		return "quits"
	}
	return "stays"
}

// asked observes whether the edge queries core's extensions while there is no mail.
func (r *reloaded) asked() string {
	// The reload itself causes the first query; the second is due to the interval.
	mark := r.core.mark()
	for deadline := time.Now().Add(r.window); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if strings.Count(r.core.since(mark), " EHLO ") >= 2 {
			return "asked"
		}
	}
	return "not asked"
}

// loggedReload observes whether another reload logs its line, which has level info.
func (r *reloaded) loggedReload() string {
	lines := func() int { return strings.Count(r.pop.Edge().Log(), "reloaded") }
	before := lines()
	r.pop.Reload()
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if lines() > before {
			return "logged"
		}
	}
	return "silent"
}

// logged observes whether a session logs its line.
func (r *reloaded) logged() string {
	r.serial++
	name := fmt.Sprintf("logged-%d.example", r.serial)
	r.talk("EHLO "+name, "QUIT")
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if strings.Contains(r.pop.Edge().Log(), name) {
			return "logged"
		}
	}
	return "silent"
}
