package xdp

import (
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"anymx/tests/kit"
)

// namespace is a network namespace. It ends with the test.
type namespace int // its file descriptor

// newNamespace creates a network namespace with lo up.
func newNamespace(t testing.TB) namespace {
	t.Helper()
	fd, err := -1, error(nil)
	kit.NewNetwork(t).Do(func() { fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return namespace(fd)
}

// do runs f in the namespace, on a thread that ends with it. f may end the test.
func (n namespace) do(t testing.TB, f func()) {
	t.Helper()
	done := make(chan error)
	finished := false
	go func() {
		runtime.LockOSThread() // it is never unlocked: the thread ends with the goroutine
		defer close(done)      // even if f ends the test
		if err := unix.Setns(int(n), unix.CLONE_NEWNET); err != nil {
			done <- err
			return
		}
		f()
		finished = true
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !finished {
		runtime.Goexit() // f called t.FailNow or t.Skip
	}
}

// inNamespace runs f in a network namespace of its own.
func inNamespace(t testing.TB, f func()) {
	t.Helper()
	newNamespace(t).do(t, f)
}

// addAddress adds an address to a device, which is usable at once.
func addAddress(t testing.TB, device, prefix string) {
	t.Helper()
	link, err := netlink.LinkByName(device)
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(link, a); err != nil {
		t.Fatal(prefix, err)
	}
}

// sysctl sets a sysctl of this thread's network.
func sysctl(t testing.TB, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
		t.Fatal(err)
	}
}

// bpfFS mounts a BPF file system for the test and returns a directory in it.
func bpfFS(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a BPF file system needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatal("mounting a BPF file system:", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir + "/shield"
}
