package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// postfix is a private Postfix with its own configuration, queue, data folder and master. The packaged
// instance is neither configured nor started.
type postfix struct {
	daemons string // daemon_directory
	version string
	guarded bool // behind postscreen, with the limits of a stock installation
}

func (f *postfix) name() string { return "postfix" }

// check finds Postfix.
func (f *postfix) check(ctx context.Context) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root to start Postfix's master")
	}
	if _, err := exec.LookPath("postconf"); err != nil {
		return fmt.Errorf("install Debian's package postfix (it need not be configured or started): %w", err)
	}
	out, err := exec.CommandContext(ctx, "postconf", "-d", "-h", "daemon_directory", "mail_version").Output()
	if err != nil {
		return fmt.Errorf("postconf: %w", err)
	}
	words := strings.Fields(string(out))
	if len(words) != 2 {
		return fmt.Errorf("postconf: unexpected output %q", out)
	}
	f.daemons, f.version = words[0], words[1]
	return nil
}

// guard puts postscreen before it, and leaves its limits as they are shipped.
func (f *postfix) guard(bool)  { f.guarded = true }
func (f *postfix) ready() bool { return true }

func (f *postfix) describe() description {
	return description{
		Title: "Postfix " + f.version,
		Settings: "defaults for durability; `default_process_limit=500`, " +
			"`smtpd_client_connection_count_limit=0`, `smtp_connection_cache_destinations` = the sink, " +
			"`in_flow_delay=0`, `message_size_limit` 35 MiB, no DNS lookups, no chroot",
	}
}

func (f *postfix) start(ctx context.Context, p place) (*process, error) {
	config := filepath.Join(p.dir, "etc")
	if err := f.layOut(p, config); err != nil {
		return nil, err
	}
	return startServer(ctx, p, filepath.Join(f.daemons, "master"), "-c", config)
}

// queueFolders are the folders of a Postfix queue, including those that a set-gid program needs.
var queueFolders = []struct {
	name string
	mode os.FileMode
	drop bool // belongs to group postdrop
}{
	{"active", 0o700, false}, {"bounce", 0o700, false}, {"corrupt", 0o700, false}, {"defer", 0o700, false},
	{"deferred", 0o700, false}, {"flush", 0o700, false}, {"hold", 0o700, false}, {"incoming", 0o700, false},
	{"private", 0o700, false}, {"saved", 0o700, false}, {"trace", 0o700, false},
	{"maildrop", os.ModeSticky | 0o730, true}, {"public", os.ModeSetgid | 0o710, true},
}

// layOut writes the configuration and makes the queue.
func (f *postfix) layOut(p place, config string) error {
	owner, err := user.Lookup("postfix")
	if err != nil {
		return err
	}
	drop, err := user.LookupGroup("postdrop")
	if err != nil {
		return err
	}
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	dropGID, _ := strconv.Atoi(drop.Gid)

	queue, data := filepath.Join(p.dir, "queue"), filepath.Join(p.dir, "data")
	for _, dir := range []string{config, queue, filepath.Join(queue, "pid"), data} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chown(data, uid, gid); err != nil {
		return err
	}
	for _, folder := range queueFolders {
		dir, group := filepath.Join(queue, folder.name), -1
		if folder.drop {
			group = dropGID
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		if err := os.Chown(dir, uid, group); err != nil {
			return err
		}
		if err := os.Chmod(dir, folder.mode); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(config, "main.cf"), []byte(f.mainConfig(p, queue, data)), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(config, "master.cf"), []byte(masterConfig(p.address, f.guarded)), 0o644)
}

// mainConfig is a relay host as Postfix's documentation describes it, with every limit that could throttle
// this load raised, and no lookups that could leave the machine.
func (f *postfix) mainConfig(p place, queue, data string) string {
	host, port, _ := net.SplitHostPort(p.sink)
	sink := "[" + host + "]:" + port
	limits := unthrottled
	if f.guarded {
		limits = guardedLimits
	}
	return fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %s
data_directory = %s
daemon_directory = %s
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.%[4]s

# A relay for one domain: whatever its recipients, to the sink.
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks =
relay_domains = %[4]s
relay_recipient_maps =
relay_transport = relay:%[5]s
message_size_limit = 36700160
soft_bounce = yes

# Nothing is looked up in the DNS.
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no

smtp_connection_cache_destinations = %[5]s

smtpd_tls_security_level = may
smtpd_tls_cert_file = %[6]s
smtpd_tls_key_file = %[7]s
`, queue, data, f.daemons, recipientDomain, sink, p.cert, p.key) + limits
}

const (
	unthrottled = `inet_interfaces = 127.0.0.1
inet_protocols = ipv4
default_process_limit = 500
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
`
	// guardedLimits leaves everything else, such as shorter timeouts under stress, at its default.
	guardedLimits = `inet_interfaces = all
inet_protocols = all
postscreen_greet_action = enforce
`
)

// masterConfig lists the services of a stock installation, with the one listener on address.
func masterConfig(address string, guarded bool) string {
	server := address + " inet n - n - - smtpd\n"
	if guarded {
		_, port, _ := net.SplitHostPort(address)
		server = port + ` inet n - n - 1 postscreen
smtpd pass - - n - - smtpd
dnsblog unix - - n - 0 dnsblog
tlsproxy unix - - n - 0 tlsproxy
`
	}
	return server + `pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`
}
