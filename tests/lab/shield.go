package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// shieldConfig is the part that both nodes share. All clients of a lab are in one network, so it
// may open connections at any rate.
const shieldConfig = `
[shield]
interfaces = ["eth0"]
mode = %q
key_file = %q
pins = %q
connection_rate = 100000
`

// sharedKey is the cookie key of both nodes, until a test changes one.
const sharedKey = "the cookie key of both nodes of a lab"

// prepareShield creates what a node's shield needs: its key, a BPF file system to pin to, and a tap
// at the router, without which a veth accepts no packets sent by XDP.
func (n *Node) prepareShield() error {
	pins := filepath.Join(n.Dir, "bpf")
	if err := unix.Mount("bpf", pins, "bpf", 0, ""); err != nil {
		return fmt.Errorf("BPF file system: %w", err)
	}
	client := n.lab.spaces["client-"+n.Role]
	err := errors.Join(os.Chown(pins, users[Net], group), n.ShareKey(sharedKey), client.wholeChecksums("eth0"),
		n.Namespace.queue("eth0"), n.upstream.queue("pop-"+n.Role))
	if err != nil {
		return err
	}
	n.Tap, err = n.upstream.tap("pop-" + n.Role)
	return err
}

// ShareKey writes the file with the key for a node's cookies. anymx-net reads it at SIGHUP or its
// next start.
func (n *Node) ShareKey(key string) error {
	name := filepath.Join(n.Dir, "shield.key")
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return secretFile(name, key, users[Net])
}

// Shield makes anymx-net load the shield, with more keys of [shield], and waits until it is
// attached in the driver.
func (n *Node) Shield(ctx context.Context, keys string) error { return n.shield(ctx, "native", keys) }

// Unshield makes anymx-net remove the shield.
func (n *Node) Unshield(ctx context.Context) error { return n.shield(ctx, "off", "") }

// shielded returns a node's section [shield].
func (n *Node) shielded(mode, keys string) string {
	return fmt.Sprintf(shieldConfig, mode, filepath.Join(n.Dir, "shield.key"), filepath.Join(n.Dir, "bpf", "shield")) + keys + "\n"
}

func (n *Node) shield(ctx context.Context, mode, keys string) error {
	n.filter = n.shielded(mode, keys)
	if err := n.Append(""); err != nil {
		return err
	}
	before := time.Now()
	if err := n.Reload(Net); err != nil {
		return err
	}
	return n.AwaitShield(ctx, mode, before)
}

// AwaitShield waits until the node's shield is in that mode by a config that was read after since.
func (n *Node) AwaitShield(ctx context.Context, mode string, since time.Time) error {
	return kit.Poll(ctx, 20*time.Second, func(ctx context.Context) error {
		now, err := n.Network.Status(ctx)
		if err != nil {
			return err
		}
		if s := now.Shield; now.Config == nil || now.Config.Loaded.Before(since) || s == nil || s.Problem != "" ||
			len(s.Interfaces) != 1 || s.Interfaces[0].Mode != mode {
			return fmt.Errorf("the shield of PoP %s, which should be %s: %+v, config %+v", n.Role, mode, s, now.Config)
		}
		return nil
	})
}

// Verdicts returns how many packets got each verdict of the shield.
func (n *Node) Verdicts(ctx context.Context) (map[string]uint64, error) {
	s, err := n.Network.Status(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]uint64)
	if s.Shield != nil {
		for _, v := range s.Shield.Verdicts {
			all[v.Verdict] = v.Packets
		}
	}
	return all, nil
}
