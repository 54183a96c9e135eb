package interop

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// dovecot is a private Dovecot that takes mail by LMTP into Maildirs.
type dovecot struct {
	server

	// Before start:
	users []string // addresses with a mailbox each
	quota int      // of each mailbox, in KiB; 0: none

	dir string // of everything
}

func (d *dovecot) start(t testing.TB) {
	t.Helper()
	needServer(t, "dovecot")
	version, err := exec.Command("dovecot", "--version").Output()
	if err != nil {
		t.Fatalf("dovecot: %v", err)
	}
	d.dir = folder(t)
	port := freePort(t)
	boxes, passwd := filepath.Join(d.dir, "mail"), filepath.Join(d.dir, "passwd")
	if err := os.Mkdir(boxes, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(boxes, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	var users strings.Builder
	for _, address := range d.users {
		fmt.Fprintf(&users, "%s:{PLAIN}x:%d:%d::%s\n", address, nobody, nobody, filepath.Join(boxes, address))
	}
	if err := os.WriteFile(passwd, []byte(users.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(d.dir, "dovecot.conf")
	text := d.config(string(version), port, passwd)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	d.server = start(t, addr, filepath.Join(d.dir, "log"), "dovecot", "-F", "-c", config)
}

// mailbox is the Maildir of a user.
func (d *dovecot) mailbox(address string) string {
	return filepath.Join(d.dir, "mail", address, "Maildir")
}

// config is what 2.3 and 2.4 understand; their words differ.
func (d *dovecot) config(version string, port int, passwd string) string {
	lines := []string{
		"protocols = lmtp", "ssl = no", "auth_allow_cleartext = yes",
		"base_dir = " + filepath.Join(d.dir, "run"), "state_dir = " + filepath.Join(d.dir, "state"),
		"log_path = " + filepath.Join(d.dir, "log"),
		"login_trusted_networks = 127.0.0.0/8", // they may say XCLIENT
		"first_valid_uid = 1", "first_valid_gid = 1",
	}
	if strings.HasPrefix(version, "2.3.") {
		lines = append(lines[:2], lines[3:]...)
		lines = append(lines, "mail_location = maildir:~/Maildir", "lda_mailbox_autocreate = yes",
			"passdb {\n  driver = passwd-file\n  args = "+passwd+"\n}",
			"userdb {\n  driver = passwd-file\n  args = "+passwd+"\n}",
			fmt.Sprintf("service lmtp {\n  inet_listener lmtp {\n    address = 127.0.0.1\n    port = %d\n  }\n}", port))
	} else {
		lines = append([]string{"dovecot_config_version = 2.4.0", "dovecot_storage_version = 2.4.0"}, lines...)
		lines = append(lines, "mail_driver = maildir", "mail_path = ~/Maildir",
			"passdb passwd-file {\n  passwd_file_path = "+passwd+"\n}",
			"userdb passwd-file {\n  passwd_file_path = "+passwd+"\n}",
			fmt.Sprintf("service lmtp {\n  inet_listener lmtp {\n    listen = 127.0.0.1\n    port = %d\n  }\n}", port))
	}
	if d.quota > 0 {
		lines = append(lines, d.limit(version))
	}
	return strings.Join(lines, "\n") + "\n"
}

// limit makes Dovecot refuse, once it has the whole message, what is over the
// quota of a mailbox.
func (d *dovecot) limit(version string) string {
	if strings.HasPrefix(version, "2.3.") {
		return fmt.Sprintf("mail_plugins = quota\nplugin {\n  quota = maildir:User quota\n  quota_rule = *:storage=%dK\n}", d.quota)
	}
	return fmt.Sprintf("mail_plugins {\n  quota = yes\n}\nquota_storage_size = %dk\nquota_storage_grace = 0\nquota \"User quota\" {\n}", d.quota)
}
