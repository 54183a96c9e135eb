package interop

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// postfix is a private Postfix that delivers to Maildirs. The zero value has no
// mailbox, and relays nothing.
type postfix struct {
	server

	// Before start:
	hostname  string            // "" means postfix.test
	users     []string          // addresses with a mailbox each
	settings  map[string]string // lines of main.cf, more or instead of ours
	services  []string          // more lines for master.cf
	cert, key string            // PEM files for STARTTLS; "": none

	dir    string // of everything
	config string // -c of its programs
}

// start lays everything out, starts the master and waits for its SMTP server.
func (p *postfix) start(t testing.TB) {
	t.Helper()
	needServer(t, "postconf", "postfix")
	out, err := exec.Command("postconf", "-d", "-h", "daemon_directory").Output()
	if err != nil {
		t.Fatalf("postconf: %v", err)
	}
	daemons := strings.TrimSpace(string(out))
	p.dir = folder(t)
	p.config = filepath.Join(p.dir, "etc")
	port := freePort(t)
	p.layOut(t, port)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	logFile := filepath.Join(p.dir, "log")
	t.Cleanup(func() {
		text, _ := os.ReadFile(logFile)
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "/main.cf, line") {
				t.Errorf("%s: %s", p.hostname, line) // see main
			}
		}
	})
	p.server = start(t, addr, logFile, filepath.Join(daemons, "master"), "-c", p.config)
}

// mailbox is the Maildir of a user.
func (p *postfix) mailbox(address string) string {
	return filepath.Join(p.dir, "mail", mailboxName(address))
}

// mailboxName keeps addresses that are not ASCII out of the file system.
func mailboxName(address string) string { return fmt.Sprintf("%x", address) }

// queueFolders are the folders of a Postfix queue.
var queueFolders = []string{
	"active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace",
	"maildrop", "public",
}

func (p *postfix) layOut(t testing.TB, port int) {
	t.Helper()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	owner, err := user.Lookup("postfix")
	do(err)
	drop, err := user.LookupGroup("postdrop")
	do(err)
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	dropGID, _ := strconv.Atoi(drop.Gid)

	queue, data, boxes := filepath.Join(p.dir, "queue"), filepath.Join(p.dir, "data"), filepath.Join(p.dir, "mail")
	for _, dir := range []string{p.config, queue, filepath.Join(queue, "pid"), data, boxes} {
		do(os.Mkdir(dir, 0o755))
	}
	do(os.Chown(data, uid, gid))
	do(os.Chown(boxes, nobody, nobody))
	for _, name := range queueFolders {
		dir, group, mode := filepath.Join(queue, name), -1, os.FileMode(0o700)
		switch name {
		case "maildrop":
			group, mode = dropGID, os.ModeSticky|0o730
		case "public":
			group, mode = dropGID, os.ModeSetgid|0o710
		}
		do(os.Mkdir(dir, 0o700))
		do(os.Chown(dir, uid, group))
		do(os.Chmod(dir, mode))
	}
	// Postfix waits until a file that it reads is two seconds old: it might be
	// in the middle of a change.
	old := time.Now().Add(-time.Hour)
	for name, text := range map[string]string{"main.cf": p.main(queue, data, boxes), "master.cf": p.master(port)} {
		file := filepath.Join(p.config, name)
		do(os.WriteFile(file, []byte(text), 0o644))
		do(os.Chtimes(file, old, old))
	}
}

// nobody owns the mailboxes of all test servers.
const nobody = 65534

func (p *postfix) main(queue, data, boxes string) string {
	domains, boxOf := map[string]bool{}, []string{}
	for _, address := range p.users {
		_, domain, _ := strings.Cut(address, "@")
		domains[domain] = true
		boxOf = append(boxOf, fmt.Sprintf("{%s=%s/}", address, mailboxName(address)))
	}
	var names []string
	for name := range domains {
		names = append(names, name)
	}
	hostname := p.hostname
	if hostname == "" {
		hostname = "postfix.test"
	}
	settings := map[string]string{
		"compatibility_level": "3.6",
		"queue_directory":     queue, "data_directory": data,
		"mail_owner": "postfix", "setgid_group": "postdrop",
		"maillog_file_prefixes": p.dir, "maillog_file": filepath.Join(p.dir, "log"),
		"inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4",
		"myhostname": hostname, "mydestination": "", "mynetworks": "127.0.0.0/8",
		"smtpd_peername_lookup": "no", "smtp_dns_support_level": "disabled", "smtp_host_lookup": "native",
		"alias_maps": "", "notify_classes": "",
		"smtpd_authorized_xforward_hosts": "127.0.0.0/8",
		"message_size_limit":              "52428800", "virtual_mailbox_limit": "0", "mailbox_size_limit": "0",
		"virtual_mailbox_base": boxes,
		"virtual_uid_maps":     fmt.Sprintf("static:%d", nobody), "virtual_gid_maps": fmt.Sprintf("static:%d", nobody),
		"virtual_mailbox_domains": strings.Join(names, ", "),
		"virtual_mailbox_maps":    "inline:{" + strings.Join(boxOf, ", ") + "}",
	}
	if p.cert != "" {
		settings["smtpd_tls_security_level"], settings["smtpd_tls_loglevel"] = "may", "1"
		settings["smtpd_tls_chain_files"] = p.key + ", " + p.cert
	}
	// A name must not have two lines: postlogd warns of the second through the socket that it reads
	// itself, and waits for ever where others have filled the socket.
	maps.Copy(settings, p.settings)
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = %s\n", name, settings[name])
	}
	return text.String()
}

// master is a master.cf without chroot, its SMTP server at port. The queue
// manager is woken each second: only then it looks again at what it found
// locked, which happens where retries are close.
func (p *postfix) master(port int) string {
	services := []string{
		fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd", port),
		"pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup", "qmgr unix n - n 1 1 qmgr",
		"tlsmgr unix - - n 1000? 1 tlsmgr", "rewrite unix - - n - - trivial-rewrite",
		"bounce unix - - n - 0 bounce", "defer unix - - n - 0 bounce", "trace unix - - n - 0 bounce",
		"verify unix - - n - 1 verify", "flush unix n - n 1000? 0 flush", "proxymap unix - - n - - proxymap",
		"smtp unix - - n - - smtp", "relay unix - - n - - smtp", "showq unix n - n - - showq",
		"error unix - - n - - error", "retry unix - - n - - error", "discard unix - - n - - discard",
		"virtual unix - n n - - virtual", "lmtp unix - - n - - lmtp", "anvil unix - - n - 1 anvil",
		"scache unix - - n - 1 scache", "postlog unix-dgram n - n - 1 postlogd",
	}
	return strings.Join(append(services, p.services...), "\n") + "\n"
}
