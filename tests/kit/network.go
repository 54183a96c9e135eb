package kit

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Network is a network namespace that lives as long as the single thread in it.
type Network struct {
	t      testing.TB
	thread int
	jobs   chan func()
}

// NewNetwork creates a network namespace in which only lo is up, and which ends with the test. It
// skips the test for users other than root.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root may make network namespaces")
	}
	n := &Network{t: t, jobs: make(chan func())}
	made, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
		n.thread = unix.Gettid()
		made <- EnterNamespace()
		for job := range n.jobs {
			job()
		}
	}()
	t.Cleanup(func() {
		close(n.jobs)
		<-ended
	})
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	return n
}

// Thread returns the id of the thread in the namespace, which ip(8) takes as a name for it.
func (n *Network) Thread() int { return n.thread }

// Do runs f in the namespace. It may not end the test.
func (n *Network) Do(f func()) {
	done := make(chan struct{})
	n.jobs <- func() {
		defer close(done)
		f()
	}
	<-done
}

// Alongside begins to run f in the namespace, on a thread of its own.
func (n *Network) Alongside(f func()) {
	n.t.Helper()
	space, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", n.thread))
	if err != nil {
		n.t.Fatal(err)
	}
	go func() {
		defer space.Close()
		runtime.LockOSThread() // never unlocked
		if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNET); err != nil {
			n.t.Error(err)
		}
		f()
	}()
}

// TryIP runs ip(8) with the words of command in the namespace, and returns its output.
func (n *Network) TryIP(command string) (string, error) {
	var out []byte
	var err error
	n.Do(func() { out, err = exec.Command("ip", strings.Fields(command)...).CombinedOutput() })
	if err != nil {
		err = fmt.Errorf("ip %s: %w: %s", command, err, out)
	}
	return string(out), err
}

// IP runs ip(8) as TryIP does. It must succeed.
func (n *Network) IP(command string) string {
	n.t.Helper()
	out, err := n.TryIP(command)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}
