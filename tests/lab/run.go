package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// runs holds a directory for each run of a lab, named after the run.
const runs = "/run/anymx-lab"

// Person is the name of the run that a person works with. It stays until it is removed; any other
// run ends with the process that created it.
const Person = "lab"

// ErrThere is wrapped by Up's error if the person's lab is already up.
var ErrThere = errors.New("the lab is up already")

// claim creates a run's directory. Its lock, held by this process, shows others that the run is
// alive.
func claim(ctx context.Context, name string) (dir string, lock *os.File, err error) {
	if err := os.MkdirAll(runs, 0o755); err != nil {
		return "", nil, err
	}
	// Prevents a sweep between creating the directory and locking it.
	all, err := locked(filepath.Join(runs, ".lock"), unix.LOCK_EX)
	if err != nil {
		return "", nil, err
	}
	defer all.Close()
	if err := sweep(ctx); err != nil {
		return "", nil, err
	}
	if name == "" {
		name = fmt.Sprintf("t%04x", rand.N(0x10000))
	}
	dir = filepath.Join(runs, name)
	if err := os.Mkdir(dir, 0o755); errors.Is(err, os.ErrExist) {
		return "", nil, fmt.Errorf("%s: %w", dir, ErrThere)
	} else if err != nil {
		return "", nil, err
	}
	lock, err = locked(filepath.Join(dir, "lock"), unix.LOCK_EX|unix.LOCK_NB)
	return dir, lock, err
}

// There reports whether a run exists.
func There(name string) bool {
	_, err := os.Stat(Dir(name))
	return err == nil
}

// Dir returns the directory with all files of a run.
func Dir(name string) string { return filepath.Join(runs, name) }

// SpaceName returns the name for `ip netns` of a role's namespace in a run.
func SpaceName(name, role string) string { return prefix(name) + role }

// locked opens a file, creating it if needed, and locks it.
func locked(name string, how int) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), how); err != nil {
		return nil, errors.Join(fmt.Errorf("lock of %s: %w", name, err), file.Close())
	}
	return file, nil
}

// sweep removes the runs whose process has died.
func sweep(ctx context.Context) error {
	entries, err := os.ReadDir(runs)
	if err != nil {
		return err
	}
	var failed error
	for _, e := range entries {
		if !e.IsDir() || e.Name() == Person {
			continue
		}
		lock, err := locked(filepath.Join(runs, e.Name(), "lock"), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue // alive
		}
		failed = errors.Join(failed, Remove(ctx, e.Name()), lock.Close())
	}
	return failed
}

// Remove removes whatever is left of the named run: processes, namespaces with their links, files.
func Remove(ctx context.Context, name string) error {
	entries, err := os.ReadDir(namespaces)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var failed error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix(name)) {
			failed = errors.Join(failed, removeNamespace(ctx, e.Name()))
		}
	}
	for _, role := range []string{"core", "a", "b"} { // a dead wireguard-go leaves its socket
		socket := filepath.Join("/run/wireguard", device(name, role)+".sock")
		if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	for _, role := range []string{"a", "b"} { // this also removes what is pinned there
		if err := unix.Unmount(filepath.Join(runs, name, role, "bpf"), unix.MNT_DETACH); err != nil &&
			!errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			failed = errors.Join(failed, fmt.Errorf("BPF file system of PoP %s: %w", role, err))
		}
	}
	if failed != nil {
		return fmt.Errorf("removing lab %s: %w", name, failed)
	}
	return os.RemoveAll(filepath.Join(runs, name))
}

// prefix returns how the names of a run's namespaces begin.
func prefix(run string) string {
	if run == Person {
		return "anymx-lab-"
	}
	return "anymx-lab." + run + "-"
}

// device returns the name of a tunnel device. It differs between runs because wireguard-go keeps
// the sockets of all namespaces in one directory.
func device(run, role string) string {
	if run == Person {
		return "wg-" + role
	}
	return "wg-" + run + "-" + role // at most 13 bytes
}
