package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"anymx/edge/operate/control"
	"anymx/tests/kit"

	"golang.org/x/sys/unix"
)

// The programs of a node, in start order.
const (
	Net  = "anymx-net"
	BGP  = "anymx-bgp"
	Edge = "anymx-edge"
)

// Programs lists them all.
var Programs = []string{Net, BGP, Edge}

// users are the users that the programs run as. The machine has no such users; they share the
// node's group.
var users = map[string]int{Net: 64901, BGP: 64902, Edge: 64903}

const group = 64900

// site is what distinguishes the nodes.
type site struct {
	role     string
	upstream string // role of its router
	tunnel   string // its address inside the tunnel
	routerID string
	peers    string // TOML; %s is the file with the TCP MD5 password
}

var siteA = site{
	role: "a", upstream: "r1", tunnel: "10.77.0.2/24", routerID: A4,
	peers: `
[[bgp.peer]]                          # the router's IPv4 session, with TCP MD5
address = "` + R1ToA4 + `"
asn = 64501
password_file = %[1]q
communities = ["64512:100", "64512:1:2"]
med = 10
connect_retry = "1s"

[[bgp.peer]]                          # its IPv6 session
address = "` + R1ToA6 + `"
asn = 64501
password_file = %[1]q
communities = ["64512:100", "64512:1:2"]
med = 10
connect_retry = "1s"
`,
}

var siteB = site{
	role: "b", upstream: "r2", tunnel: "10.77.0.3/24", routerID: B4,
	peers: `
[[bgp.peer]]                          # one session for both families, with TTL security
address = "` + R2ToB4 + `"
asn = 64502
ttl_security = true
families = ["ipv4", "ipv6"]
next_hop6 = "` + B6 + `"
communities = ["64512:200"]
med = 20
connect_retry = "1s"
`,
}

const nodeConfig = `[node]
name = "lab-%[1]s"
region = "lab"
hostname = "mx-%[1]s.example.net"
state_dir = "%[2]s/state"
control = "%[2]s/run/edge.sock"
shutdown_grace = "40s"

[ingress]
listen = ["[::]:25", "[::]:8025"]
max_connections_per_prefix = 5000
max_messages_per_connection = 100000

[[domain]]
name = "example.net"

[core]
addresses = ["10.77.0.1:2525"]
connect_timeout = "5s"
command_timeout = "15s"
data_timeout = "15s"
backoff_max = "2s"

[queue]
retry = ["2s", "5s", "10s", "30s"]

[spool]
disk_reserve = "64MiB"

[tunnel]
interface = "%[3]s"
address = ["%[4]s"]
private_key_file = "%[2]s/wg.key"
probe_interval = "5s"

[[tunnel.peer]]
public_key = "%[5]s"
endpoint = "203.0.113.2:51820"
allowed_ips = ["10.77.0.0/24"]
keepalive = "5s"

[anycast]
addresses = ["192.0.2.25/32", "2001:db8:25::25/128"]
prefixes = ["192.0.2.0/24", "2001:db8:25::/48"]

[net]
control = "%[2]s/run/net.sock"

[drain]
graceful = "3s"
converge = "2s"
sessions = "20s"
silence = "3s"
flush = "1m"

[bgp]
asn = 64512
router_id = "%[6]s"
control = "%[2]s/run/bgp.sock"

[bgp.health]
rise_time = "3s"
`

// Node is a point of presence: one server with three programs.
type Node struct {
	Namespace *Namespace
	Role      string // "a" or "b"
	Host      string // in its banner
	Config    string // file
	Dir       string
	Device    string // of its tunnel
	Bin       string

	Client  *control.Client
	Speaker *control.SpeakerClient
	Network *control.NetworkClient

	// Tap counts at its router what it sends to forged sources.
	Tap *Tap

	lab      *Lab
	upstream *Namespace // of its router
	text     string     // of the config
	filter   string     // its section [shield]
	runs     map[string]*kit.Process
}

// newNode writes all files of a node.
func (l *Lab) newNode(s site) (*Node, error) {
	n := &Node{
		Namespace: l.spaces[s.role], Role: s.role, Host: "mx-" + s.role + ".example.net", Dir: l.file(s.role),
		Device: device(l.Name, s.role), Bin: l.file("bin"), lab: l, upstream: l.spaces[s.upstream], runs: make(map[string]*kit.Process),
	}
	n.Config = filepath.Join(n.Dir, "anymx.toml")
	secret := filepath.Join(n.Dir, "bgp.password")
	n.filter = n.shielded("off", "")
	n.text = fmt.Sprintf(nodeConfig, s.role, n.Dir, n.Device, s.tunnel, l.keys.Core.Public, s.routerID) +
		strings.ReplaceAll(s.peers, "%[1]q", fmt.Sprintf("%q", secret))
	own := l.keys.A
	if s.role == "b" {
		own = l.keys.B
	}
	tun := filepath.Join(n.Dir, "tun")
	for _, dir := range []struct {
		name string
		user int
		mode os.FileMode
	}{
		{"", 0, 0o755}, {"run", 0, 0o777}, {"state", users[Edge], 0o750}, {"state/bgp", users[BGP], 0o750},
		{"state/net", users[Net], 0o750}, {"bpf", 0, 0o755},
	} {
		if err := makeDir(filepath.Join(n.Dir, dir.name), dir.user, dir.mode); err != nil {
			return nil, err
		}
	}
	err := errors.Join(
		n.Append(""),
		secretFile(filepath.Join(n.Dir, "wg.key"), own.Private, users[Net]),
		secretFile(secret, password, users[BGP]),
		// With udev, anybody may open the TUN device but needs CAP_NET_ADMIN to use it. udev may
		// not run here.
		unix.Mknod(tun, unix.S_IFCHR|0o660, int(unix.Mkdev(10, 200))), os.Chown(tun, 0, group), os.Chmod(tun, 0o660),
	)
	if err := errors.Join(err, n.prepareShield()); err != nil {
		return nil, err
	}
	n.Client = control.NewClient(filepath.Join(n.Dir, "run", "edge.sock"))
	n.Speaker = control.NewSpeakerClient(filepath.Join(n.Dir, "run", "bgp.sock"))
	n.Network = control.NewNetworkClient(filepath.Join(n.Dir, "run", "net.sock"))
	return n, nil
}

func makeDir(name string, user int, mode os.FileMode) error {
	return errors.Join(os.Mkdir(name, 0o700), os.Chown(name, user, group), os.Chmod(name, mode))
}

func secretFile(name, text string, user int) error {
	return errors.Join(os.WriteFile(name, []byte(text+"\n"), 0o600), os.Chown(name, user, group))
}

// Append rewrites the config file with more TOML at its end; "" restores the original. The programs
// read it at SIGHUP or their next start.
func (n *Node) Append(toml string) error {
	return os.WriteFile(n.Config, []byte(n.text+n.filter+toml), 0o644)
}

// Start starts the named programs, or all of them, unless they are running, and waits until they
// answer.
func (n *Node) Start(ctx context.Context, programs ...string) error {
	if len(programs) == 0 {
		programs = Programs
	}
	for _, name := range programs {
		if n.runs[name].Running() {
			continue
		}
		p, err := startProgram(n.Namespace, n.lab.Dir, n.Role, name)
		if err != nil {
			return err
		}
		n.runs[name] = p
		if err := p.Await(ctx, 30*time.Second, n.answers(name)); err != nil {
			return fmt.Errorf("PoP %s: %w", n.Role, err)
		}
	}
	return nil
}

// startProgram starts a program of a node as its unit does: as its own user, with only the
// capabilities that it needs.
func startProgram(space *Namespace, dir, role, program string) (*kit.Process, error) {
	capabilities := "-all"
	if program == Net {
		capabilities += ",+net_admin,+bpf,+perfmon"
	}
	return space.start(program, filepath.Join(dir, "log", role+"-"+program+".log"),
		"sh", "-ec", `mount --bind "$0" /dev/net/tun; exec setpriv "$@"`, filepath.Join(dir, role, "tun"),
		"--reuid", fmt.Sprint(users[program]), "--regid", fmt.Sprint(group), "--clear-groups", "--no-new-privs",
		"--inh-caps", capabilities, "--ambient-caps", capabilities, "--bounding-set", capabilities,
		filepath.Join(dir, "bin", program), "-config", filepath.Join(dir, role, "anymx.toml"))
}

// StartAgain starts a program of a node of a run that no process holds, without waiting for it.
func StartAgain(run, role, program string) error {
	if !There(run) || users[program] == 0 || role != "a" && role != "b" {
		return fmt.Errorf("there is no %s in PoP %s of the lab %s", program, role, run)
	}
	space, err := openNamespace(SpaceName(run, role))
	if err != nil {
		return err
	}
	defer space.file.Close()
	_, err = startProgram(space, Dir(run), role, program)
	return err
}

// answers returns a check that succeeds when a program does what the others need.
func (n *Node) answers(program string) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var err error
		switch program {
		case Net:
			_, err = n.Network.Status(ctx)
		case BGP:
			_, err = n.Speaker.Status(ctx)
		default:
			_, err = n.Client.Status(ctx)
		}
		return err
	}
}

// Program returns one of the node's processes, or nil if it was never started.
func (n *Node) Program(name string) *kit.Process { return n.runs[name] }

// Stop ends the node's programs in the order of a machine's shutdown.
func (n *Node) Stop(limit time.Duration) error {
	var failed error
	for _, name := range []string{Edge, BGP, Net} {
		if p := n.runs[name]; p != nil {
			failed = errors.Join(failed, p.Stop(limit))
		}
	}
	return failed
}

// Reload makes a program read its config again.
func (n *Node) Reload(program string) error { return n.runs[program].Signal(syscall.SIGHUP) }

// Environment returns the variables that `anymx` needs to find the node in dir.
func Environment(bin, dir string) []string {
	return []string{
		"PATH=" + bin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"ANYMX_CONTROL=" + filepath.Join(dir, "run", "edge.sock"), "ANYMX_CONFIG=" + filepath.Join(dir, "anymx.toml"),
	}
}
