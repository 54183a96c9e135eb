package network

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"anymx/edge/config"
	"anymx/xdp"

	"golang.org/x/sys/unix"
)

// defaultPins is where a shield was pinned whose section was removed from the config: the default
// of shield.pins.
const defaultPins = "/sys/fs/bpf/anymx"

// pinsOf returns where the shield of c is pinned, or would be.
func pinsOf(c *config.Config) string {
	if c.Shield == nil {
		return defaultPins
	}
	return c.Shield.Pins
}

// pinnedOn lists the interfaces that a shield is pinned on, by the names of its links:
// "shield-eth0". A missing directory means none.
func pinnedOn(pins string) ([]string, error) {
	entries, err := os.ReadDir(pins)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pins: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutPrefix(e.Name(), "shield-"); ok {
			names = append(names, strings.ReplaceAll(name, ":", "."))
		}
	}
	return names, nil
}

// there reports whether there may be pins of c. Without a shield in c they are of an earlier
// config, and those that can't be seen were not made by this user.
func there(c *config.Config) bool {
	_, err := os.Lstat(pinsOf(c))
	return err == nil || c.Shield != nil && !errors.Is(err, fs.ErrNotExist)
}

// unpin removes the shield that c names, or one of an earlier config.
func unpin(c *config.Config) error {
	err := xdp.Remove(pinsOf(c))
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("removing the shield: %w; this requires CAP_BPF, CAP_NET_ADMIN and the user that pinned it", err)
	}
	return err
}

// withdraw removes the shield of an earlier config if the config has none.
func withdraw(c *config.Config, log *slog.Logger) error {
	if !there(c) {
		return nil
	}
	if err := unpin(c); err != nil {
		return err
	}
	log.Info("removed the shield of an earlier config", "pins", defaultPins)
	return nil
}

// planShield returns what Run would do about the shield, a line for each interface. Where this user
// may not read the pins, it can't know where the shield is attached.
func planShield(c *config.Config) ([]string, error) {
	pins := pinsOf(c)
	pinned, err := pinnedOn(pins)
	switch {
	case !there(c):
		pinned, err = nil, nil
	case errors.Is(err, fs.ErrPermission):
		return []string{fmt.Sprintf("# the shield: only the owner of %s and root can see where it is attached", pins)}, nil
	case err != nil:
		return nil, err
	}
	var want, lines []string
	if c.Shield != nil && c.Shield.Mode != string(xdp.Off) {
		want = c.Shield.Interfaces
	}
	for _, name := range want {
		if !slices.Contains(pinned, name) {
			lines = append(lines, fmt.Sprintf("ip link set dev %s xdp pinned %s # the shield, mode %s", name, filepath.Join(pins, "shield-"+name), c.Shield.Mode))
		}
	}
	for _, name := range pinned {
		if !slices.Contains(want, name) {
			lines = append(lines, fmt.Sprintf("rm %s # the shield leaves %s", filepath.Join(pins, "shield-"+name), name))
		}
	}
	return lines, nil
}

// explainPins adds to err that the directory is not on a BPF file system, if that is the cause: the
// kernel's own message is hard to understand.
func explainPins(err error, pins string) error {
	var at unix.Statfs_t
	for dir := pins; ; dir = filepath.Dir(dir) {
		failed := unix.Statfs(dir, &at)
		if failed == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			return err
		}
	}
	if at.Type == unix.BPF_FS_MAGIC {
		return err
	}
	return fmt.Errorf("%w (shield.pins: %s is not on a BPF file system: mount -t bpf bpf /sys/fs/bpf)", err, pins)
}
