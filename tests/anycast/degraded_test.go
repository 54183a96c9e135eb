package anycast

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/tests/kit"
	"anymx/tests/pop"
)

// birdConfig is a router with a session without a password and one with TCP MD5.
const birdConfig = `
log stderr all;
router id 127.0.0.3;
protocol device { }
template bgp node {
	multihop 2;
	hold time 9;
	error wait time 1, 2;
	strict bind yes;
	passive yes;
	ipv4 { import all; export none; };
	ipv6 { import all; export none; };
}
protocol bgp plain from node { local 127.0.0.3 as %[2]d; neighbor 127.0.0.1 as %[1]d; }
protocol bgp secured from node { local 127.0.0.4 as %[2]d; neighbor 127.0.0.5 as %[1]d; password "a-shared-secret"; }
`

// bird is a real BIRD beside the node.
type bird struct {
	t      testing.TB
	socket string
}

func newBIRD(t testing.TB) *bird {
	t.Helper()
	path, err := exec.LookPath("bird")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/bird"); err != nil {
			t.Skip("needs BIRD")
		}
	}
	dir := t.TempDir()
	run, err := os.MkdirTemp("", "bird") // a unix socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	file := filepath.Join(dir, "bird.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, birdConfig, nodeASN, routerASN), 0o600); err != nil {
		t.Fatal(err)
	}
	b := &bird{t: t, socket: filepath.Join(run, "ctl")}
	pop.Run(t, path, "-f", "-c", file, "-s", b.socket, "-P", filepath.Join(run, "pid"))
	b.await("BIRD answers", func() bool { return strings.Contains(b.ask("show status"), "Daemon is up") })
	return b
}

// ask is what birdc prints for a command.
func (b *bird) ask(command string) string {
	conn, err := net.Dial("unix", b.socket)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	r, text := bufio.NewReader(conn), ""
	for asked := false; ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return text + err.Error()
		}
		text += line
		if len(line) < 5 || line[0] == ' ' || line[4] != ' ' {
			continue // more of it comes
		}
		if asked {
			return text
		}
		asked, text = true, ""
		_, _ = fmt.Fprintln(conn, command)
	}
}

// has says whether BIRD has both prefixes from a session.
func (b *bird) has(session string) bool {
	table := b.ask("show route protocol " + session)
	return strings.Contains(table, prefix4) && strings.Contains(table, prefix6)
}

func (b *bird) await(what string, ok func() bool) {
	b.t.Helper()
	kit.EventuallyIn(b.t, long, what, ok)
}

// without is the config of a node that lacks whatever a table takes away.
const without = `
[[domain]]
name = "listed.example"
recipients = "file:%[1]s/recipients"

[mailstore]
listen = ["127.0.0.9:2525"]
directory = "%[1]s/core"

[[bgp.peer]]
address = "127.0.0.4"
asn = %[2]d
local_address = "127.0.0.5"
next_hop6 = "2001:db8::1"
connect_retry = "1s"
password_file = "%[1]s/password"
`

// newDegraded is a node whose metrics are at the two addresses.
func newDegraded(t *testing.T, edge, speaker string) *node {
	t.Helper()
	n := newNode(t, settings{routers: []string{"127.0.0.3"}})
	cert := fmt.Sprintf("tls_cert = %q\ntls_key = %q", filepath.Join(n.dir, "cert.pem"), filepath.Join(n.dir, "key.pem"))
	n.write(settings{routers: []string{"127.0.0.3"}, ingress: cert})
	text, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `metrics = ""`, fmt.Sprintf("metrics = %q", edge), 1)
	changed = strings.Replace(changed, `metrics = ""`, fmt.Sprintf("metrics = %q", speaker), 1)
	changed += fmt.Sprintf(without, n.dir, routerASN)
	if err := os.WriteFile(n.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	pop.Run(t, filepath.Join(n.bin, "anymx-core"), "-config", n.config).Await("127.0.0.9:2525")
	return n
}

// send sends a message to a recipient and returns the reply that decided: that of
// RCPT if it refused, else that of the message.
func send(t testing.TB, to, subject string) string {
	t.Helper()
	conn, err := net.Dial("tcp", "192.0.2.25:25")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(long))
	r := bufio.NewReader(conn)
	reply := ""
	for _, line := range []string{"", "EHLO sender.example.com", "MAIL FROM:<a@sender.example.com>", "RCPT TO:<" + to + ">", "DATA", "Subject: " + subject + "\r\n\r\nhello\r\n."} {
		if line != "" {
			_, _ = io.WriteString(conn, line+"\r\n")
		}
		for reply = "    -"; len(reply) > 3 && (reply[3] == '-' || reply[3] == ' ' && reply[0] == ' '); {
			if reply, err = r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
		}
		if reply = strings.TrimSpace(reply); reply[0] > '3' {
			return reply
		}
	}
	return reply
}

// arrives waits for a message in core's mailbox.
func (n *node) arrives(to, subject string) {
	n.t.Helper()
	local, domain, _ := strings.Cut(to, "@")
	kit.EventuallyIn(n.t, long, subject+" in core's mailbox", func() bool {
		files, _ := filepath.Glob(filepath.Join(n.dir, "core", "mail", domain, local, "new", "*"))
		for _, file := range files {
			if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), "Subject: "+subject) {
				return true
			}
		}
		return false
	})
}

// offers says whether EHLO offers STARTTLS.
func offers(t testing.TB) bool {
	conn, err := net.Dial("tcp", "192.0.2.25:25")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(long))
	r := bufio.NewReader(conn)
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "EHLO sender.example.com\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, "STARTTLS") {
			return true
		}
		if line[3] == ' ' {
			return false
		}
	}
}

// scrape is what /metrics at an address says; "" if nothing answers.
func scrape(address string) string {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	return string(text)
}

// put writes a file as an operator does who puts it in place.
func put(t testing.TB, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// pair is a certificate and its key.
func pair(t testing.TB) (cert, key string) {
	t.Helper()
	c, k := kit.Certificate(t, "mx.example.net")
	return string(c), string(k)
}

// A node that lacks everything that mail does not need takes a message through to
// core and announces its routes. Each thing is taken up when it comes, without a
// restart.
func TestDegraded(t *testing.T) {
	needNamespace(t)
	b := newBIRD(t)
	taken, err := net.Listen("tcp", kit.MustFreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	inUse, absent := taken.Addr().String(), "192.0.2.99:9926"
	n := newDegraded(t, inUse, absent)
	put(t, filepath.Join(n.dir, "recipients"), "not an address @@@\n")
	n.start()
	edge := control.NewClient(filepath.Join(n.dir, "run", "edge.sock"))
	t.Cleanup(edge.Close)
	pids := [2]int{n.edge.PID(), n.bgp.PID()}

	b.await("the route at BIRD", func() bool { return b.has("plain") })
	if b.has("secured") {
		t.Error("a router was dialled without its password")
	}
	if reply := send(t, "b@example.net", "degraded"); !strings.HasPrefix(reply, "250 ") {
		t.Errorf("a message: %s", reply)
	}
	n.arrives("b@example.net", "degraded")
	if reply := send(t, "c@listed.example", "deferred"); !strings.HasPrefix(reply, "451 4.3.0 ") {
		t.Errorf("the domain whose list is broken: %s", reply)
	}
	if offers(t) {
		t.Error("STARTTLS is offered without a certificate")
	}

	// parts are those that the edge and the speaker go without.
	parts := func() string {
		s, err := edge.Status(t.Context())
		if err != nil {
			return err.Error()
		}
		names := ""
		for _, d := range s.Degraded {
			names += " " + d.Part
		}
		if s.Speaker != nil && s.Speaker.Status != nil {
			for _, d := range s.Speaker.Status.Degraded {
				names += " bgp-" + d.Part
			}
		}
		return strings.TrimSpace(names)
	}
	kit.EventuallyIn(t, long, "the status tells of it: "+parts(), func() bool { return parts() == "certificate metrics recipients bgp-password" })

	cert, key := pair(t)
	for _, row := range []struct {
		thing string
		put   func()
		inUse func() bool
		left  string
	}{
		{"recipients", func() { put(t, filepath.Join(n.dir, "recipients"), "c\n") }, func() bool {
			return strings.HasPrefix(send(t, "c@listed.example", "listed"), "250 ")
		}, "certificate metrics bgp-password"},
		{"certificate", func() {
			put(t, filepath.Join(n.dir, "key.pem"), key)
			put(t, filepath.Join(n.dir, "cert.pem"), cert)
		}, func() bool { return offers(t) }, "metrics bgp-password"},
		{"password", func() { put(t, filepath.Join(n.dir, "password"), "a-shared-secret\n") }, func() bool { return b.has("secured") }, "metrics"},
		{"port of the metrics", func() { _ = taken.Close() }, func() bool {
			return strings.Contains(scrape(inUse), `anymx_degraded{part="metrics"} 0`)
		}, ""},
		{"address of the metrics", func() {
			address(t, "192.0.2.99/32", true)
			t.Cleanup(func() { address(t, "192.0.2.99/32", false) })
		}, func() bool { return strings.Contains(scrape(absent), "anymx_bgp_healthy 1") }, ""},
	} {
		t.Run(row.thing, func(t *testing.T) {
			if row.inUse() {
				t.Fatal("it is in use before it is there")
			}
			row.put()
			kit.EventuallyIn(t, long, row.thing+" in use", row.inUse)
			kit.EventuallyIn(t, long, "left: "+row.left, func() bool { return parts() == row.left })
		})
	}
	n.arrives("c@listed.example", "listed")
	if !strings.Contains(scrape(inUse), "anymx_tls_certificate_expiry_timestamp_seconds") {
		t.Error("no metric of the certificate's end")
	}
	if !b.has("plain") || pids != [2]int{n.edge.PID(), n.bgp.PID()} {
		t.Error("not the same programs and routes as before")
	}
}

// Without the directory of the control socket mail goes on; the routes come with it.
func TestWithoutControlSocket(t *testing.T) {
	needNamespace(t)
	b := newBIRD(t)
	n := newDegraded(t, "", "")
	run, err := os.Readlink(filepath.Join(n.dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	later := filepath.Join(run, "later")
	changed := strings.Replace(string(text), run+"/edge.sock", later+"/edge.sock", 1)
	if err := os.WriteFile(n.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start()
	if reply := send(t, "b@example.net", "unasked"); !strings.HasPrefix(reply, "250 ") {
		t.Errorf("a message: %s", reply)
	}
	n.arrives("b@example.net", "unasked")
	n.status("no edge", func(s *api.SpeakerStatus) bool { return strings.Contains(s.Reason, "readyz") })
	if b.has("plain") {
		t.Error("announced without a word of the edge's health")
	}
	if err := os.Mkdir(later, 0o700); err != nil {
		t.Fatal(err)
	}
	b.await("the route at BIRD", func() bool { return b.has("plain") })
}

// Ingress may be configured for an address that is not there yet.
func TestListenBeforeAddress(t *testing.T) {
	needNamespace(t)
	n := newDegraded(t, "", "")
	text, err := os.ReadFile(n.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), `listen = ["[::]:25", "[::]:8025"]`, `listen = ["192.0.2.25:25", "[2001:db8:25::25]:25"]`, 1)
	if err := os.WriteFile(n.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{service4, service6} {
		address(t, a, false)
	}
	n.edge = pop.Run(t, filepath.Join(n.bin, "anymx-edge"), "-config", n.config)
	edge := control.NewClient(filepath.Join(n.dir, "run", "edge.sock"))
	t.Cleanup(edge.Close)
	kit.EventuallyIn(t, long, "the edge answers", func() bool { s, err := edge.Status(t.Context()); return err == nil && !s.Ready.OK })
	for _, a := range []string{service4, service6} {
		address(t, a, true)
	}
	kit.EventuallyIn(t, long, "the edge is ready", func() bool { s, err := edge.Status(t.Context()); return err == nil && s.Ready.OK })
	if reply := send(t, "b@example.net", "early"); !strings.HasPrefix(reply, "250 ") {
		t.Errorf("a message: %s", reply)
	}
	n.arrives("b@example.net", "early")
}
