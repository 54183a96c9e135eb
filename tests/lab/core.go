package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"anymx/tests/kit"
)

// Core is the mail storage: the remote end of both tunnels, with Debian's wireguard-go set up by
// Debian's wg, and anymx-core, which listens only inside the tunnels.
type Core struct {
	Namespace *Namespace
	Tunnel    *kit.Process
	Mail      *kit.Process
	maildir   string
}

// CoreConfig is the config of anymx-core, in which %[1]q is its control socket, %[2]q the address that
// it listens on, and %[3]q the folder of its mail.
const CoreConfig = `[node]
name = "core"
hostname = "core.example.net"
control = %[1]q

[core]                                # of no use here, but the programs share one kind of file
addresses = [%[2]q]

[[domain]]
name = "example.net"

[mailstore]
listen = [%[2]q]
directory = %[3]q
`

const coreTunnel = `[Interface]
ListenPort = 51820
PrivateKey = %s
[Peer]
PublicKey = %s
AllowedIPs = 10.77.0.2/32
[Peer]
PublicKey = %s
AllowedIPs = 10.77.0.3/32
`

func (l *Lab) startCore(ctx context.Context) (*Core, error) {
	c := &Core{Namespace: l.spaces["core"]}
	dir := l.file("core")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	name := device(l.Name, "core")
	var err error
	if c.Tunnel, err = c.Namespace.start("wireguard-go", l.log("core-wireguard-go"), lookUp("wireguard-go"), "-f", name); err != nil {
		return nil, err
	}
	if err := c.Tunnel.Await(ctx, 20*time.Second, func(ctx context.Context) error {
		_, err := c.Namespace.Output(ctx, "wg", "show", name)
		return err
	}); err != nil {
		return nil, err
	}
	settings := filepath.Join(dir, "wg.conf")
	if err := os.WriteFile(settings, fmt.Appendf(nil, coreTunnel, l.keys.Core.Private, l.keys.A.Public, l.keys.B.Public), 0o600); err != nil {
		return nil, err
	}
	if _, err := c.Namespace.Output(ctx, "wg", "setconf", name, settings); err != nil {
		return nil, err
	}
	for _, args := range [][]string{
		{"address", "add", CoreInside + "/24", "dev", name},
		{"link", "set", name, "mtu", "1420", "up"},
	} {
		if err := c.Namespace.IP(ctx, args...); err != nil {
			return nil, err
		}
	}
	c.maildir = filepath.Join(dir, "store", "mail")
	address := net.JoinHostPort(CoreInside, "2525")
	file := filepath.Join(dir, "anymx.toml")
	text := fmt.Sprintf(CoreConfig, filepath.Join(dir, "edge.sock"), address, filepath.Join(dir, "store"))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	if c.Mail, err = c.Namespace.start("anymx-core", l.log("anymx-core"), l.file("bin", "anymx-core"), "-config", file); err != nil {
		return nil, err
	}
	return c, c.Mail.Await(ctx, 20*time.Second, c.Namespace.greets(address))
}

// Cut takes down the link to core, at core's end.
func (c *Core) Cut(ctx context.Context) error {
	return c.Namespace.IP(ctx, "link", "set", "eth0", "down")
}

// Mend brings it up again and restores the default route.
func (c *Core) Mend(ctx context.Context) error {
	if err := c.Namespace.IP(ctx, "link", "set", "eth0", "up"); err != nil {
		return err
	}
	return c.Namespace.IP(ctx, "route", "replace", "default", "via", gateways["core"][0])
}

// Mailbox returns the Maildir of a recipient at example.net.
func (c *Core) Mailbox(recipient string) string {
	return filepath.Join(c.maildir, "example.net", recipient)
}
