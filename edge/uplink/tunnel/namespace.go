package tunnel

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespace is the network namespace that a tunnel was opened in. A socket belongs to the namespace
// of the thread that makes it, and Go moves goroutines between threads: so each socket of a tunnel,
// whoever's call makes it, is made inside do. One process can then hold tunnels in many namespaces,
// as labs do.
type namespace struct{ file *os.File }

// here returns the namespace of the calling thread.
func here() (*namespace, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	return &namespace{f}, nil
}

// do runs f in the namespace. A thread that is already in it, as each one of a program that never
// changes it, needs no capability for that; from another, f runs on a thread of its own, which
// requires CAP_SYS_ADMIN.
func (n *namespace) do(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if inside, err := n.inside(); inside || err != nil {
		if err != nil {
			return err
		}
		return f()
	}
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so no other goroutine runs in an
		// unexpected namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}

// inside reports whether the calling thread is in the namespace.
func (n *namespace) inside() (bool, error) {
	var mine, its unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &mine); err != nil {
		return false, fmt.Errorf("network namespace: %w", err)
	}
	if err := unix.Fstat(int(n.file.Fd()), &its); err != nil {
		return false, fmt.Errorf("network namespace: %w", err)
	}
	return mine.Ino == its.Ino && mine.Dev == its.Dev, nil
}

func (n *namespace) close() { _ = n.file.Close() }
