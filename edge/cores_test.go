package edge

import (
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/edge/delivery/smtpc/smtptest"
	"anymx/edge/mail"
	"anymx/edge/operate/api"
	"anymx/tests/kit"
)

// cores renders the core groups of a node's status: name and address, in their order.
func (r *running) cores() string {
	var list []string
	for _, c := range r.Status(r.t.Context()).Core {
		list = append(list, strings.TrimSpace(c.Group+" "+c.Address))
	}
	return strings.Join(list, ", ")
}

// A reload adds core groups, whose addresses are asked what they take, and routes their domains
// there; it removes them again. A config at fault changes nothing.
func TestCoreGroups(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	archive := smtptest.Start(t, &smtptest.Server{Extensions: []string{"8BITMIME"}}).Addr()
	dir := t.TempDir()
	r := open(t, dir, "", "", l).run()
	reload := func(more string) error {
		if err := os.WriteFile(filepath.Join(dir, "anymx.toml"), []byte(toml(dir, "", more)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := r.Reload(t.Context())
		return err
	}
	if got := r.cores(); got != "127.0.0.1:1" {
		t.Errorf("before: %s", got)
	}
	if r.routes.Load() != nil {
		t.Error("a table of routes without groups")
	}
	more := "[[domain]]\nname = \"*.example.org\"\ncore = \"archive\"\n[core.archive]\naddresses = [\"" + archive + "\"]\n"
	if err := reload(more); err != nil {
		t.Fatal(err)
	}
	if got, want := r.cores(), "127.0.0.1:1, archive "+archive; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := r.routes.Load().Destination("a.example.org"); got != "core/archive" {
		t.Errorf("mail goes to %q", got)
	}
	kit.Eventually(t, "the group is asked what it takes", func() bool {
		e := r.Status(t.Context()).Core[1].Extensions
		return len(e) == 1 && e[0] == "8BITMIME"
	})
	if offer := r.courier.Extensions().Offer().Keywords(); len(offer) != 1 || offer[0] != "8BITMIME" {
		t.Errorf("offers %q", offer)
	}
	for _, broken := range []string{strings.Replace(more, "core = \"archive\"", "core = \"gone\"", 1), strings.Replace(more, archive, "nowhere", 1)} {
		if err := reload(broken); err == nil || !strings.Contains(r.cores(), "archive "+archive) {
			t.Errorf("a config at fault: %v, %s", err, r.cores())
		}
	}
	if err := reload(""); err != nil {
		t.Fatal(err)
	}
	if got := r.cores(); got != "127.0.0.1:1" || r.routes.Load().Destination("a.example.org") != "" {
		t.Errorf("after: %s", got)
	}
}

// send sends one message to recipients through a node's listener.
func send(t *testing.T, address string, to ...string) {
	t.Helper()
	if err := smtp.SendMail(address, nil, "sender@example.com", to, []byte("Subject: x\r\n\r\nhello\r\n")); err != nil {
		t.Fatal(err)
	}
}

// Each recipient's copy goes to the group of its domain, and a group that is down delays nothing but
// its own. A group's mail goes on when its domains are moved to another, and it is removed.
func TestMailToCoreGroups(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	main, archive := smtptest.Start(t, &smtptest.Server{Extensions: smtptest.All()}), smtptest.Start(t, &smtptest.Server{Extensions: smtptest.All()})
	dir := t.TempDir()
	text := func(group, groups string) string {
		more := "[[domain]]\nname = \"archive.example\"\ncore = \"archive\"\n[[domain]]\nname = \"down.example\"\ncore = \"" + group + "\"\n" +
			"[core.archive]\naddresses = [\"" + archive.Addr() + "\"]\n" + groups
		return strings.Replace(toml(dir, "", more), "127.0.0.1:1", main.Addr(), 1)
	}
	r := openWith(t, dir, text("down", "[core.down]\naddresses = [\"127.0.0.1:1\"]\n"), l).run()
	kit.Eventually(t, "the node is ready", func() bool { return r.Ready(t.Context()) == nil })
	for range 20 {
		send(t, l.Addr().String(), "a@down.example", "b@example.net", "c@archive.example", "d@Archive.Example")
	}
	kit.Eventually(t, "all but the mail for the group that is down is delivered", func() bool {
		return main.Accepted() == 20 && archive.Accepted() == 20
	})
	for _, m := range archive.Messages() {
		if len(m.To) != 2 {
			t.Errorf("archive got %q", m.To)
		}
	}
	for _, m := range main.Messages() {
		if len(m.To) != 1 || !strings.Contains(m.To[0], "b@example.net") {
			t.Errorf("the default core got %q", m.To)
		}
	}
	kit.Eventually(t, "the rest waits", func() bool { return r.Status(t.Context()).Queue.Total() == 20 })
	if s := r.Status(t.Context()).Queue; len(s.Paused) != 1 || s.Paused[0].Destination != "core/down" {
		t.Errorf("queue: %+v", s)
	}
	if err := os.WriteFile(filepath.Join(dir, "anymx.toml"), []byte(text("archive", "")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "what waited for the removed group is delivered elsewhere", func() bool {
		return archive.Accepted() == 40 && r.Status(t.Context()).Queue.Total() == 0
	})
}

// A flush asks core at once, also while it is left alone after several failures.
func TestFlushAsksCoreAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	core, err := kit.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := openWith(t, dir, strings.Replace(toml(dir, "", ""), "127.0.0.1:1", core.String(), 1), l).run()
	send(t, l.Addr().String(), "a@example.net")
	var until time.Time
	kit.Eventually(t, "core is left alone for some seconds", func() bool {
		until = r.Status(t.Context()).Core[0].RetryAt
		return time.Until(until) > 5*time.Second
	})
	back, err := net.Listen("tcp", core.String())
	if err != nil {
		t.Fatal(err)
	}
	server := &smtptest.Server{Extensions: smtptest.All()}
	server.Serve(back)
	t.Cleanup(server.Close)
	page, err := r.List(t.Context(), api.QueueQuery{Destination: api.DefaultCore})
	if err != nil || len(page.Items) != 1 || page.Items[0].Waits == "" {
		t.Fatalf("%+v, %v", page, err)
	}
	if _, err := r.Change(t.Context(), api.Flush, []mail.ID{page.Items[0].ID}, ""); err != nil {
		t.Fatal(err)
	}
	kit.Eventually(t, "the message is delivered", func() bool { return server.Accepted() == 1 })
	if !time.Now().Before(until) {
		t.Error("only when its time had come")
	}
}
