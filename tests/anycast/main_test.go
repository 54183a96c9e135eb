// GoBGP takes what listens for plain TCP. On an MPTCP socket it could set no
// options, and would only log that.
//go:debug multipathtcp=0

// Package anycast tests anymx-bgp beside anymx-edge as a node runs them: real
// programs, real service addresses on lo, and routers at the far side whose
// tables say what was told.
//
// What happens to the data: the tests run once more in a network namespace of
// their own, where they may put addresses on lo and take port 25. Nothing leaves
// it, and it ends with them.
package anycast

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"anymx/tests/pop"
)

// inside is set in the environment of the run in the namespace.
const inside = "ANYMX_TEST_NAMESPACE"

// noNamespace is why there is no namespace; "": there is one.
var noNamespace string

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(inside) != "":
		if err := loopback(); err != nil {
			fmt.Fprintln(os.Stderr, "lo of the namespace:", err)
			os.Exit(1)
		}
		os.Exit(pop.Main(m))
	case os.Getuid() != 0:
		noNamespace = "needs root, for a network namespace"
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		noNamespace = "no network namespace: " + err.Error()
		os.Exit(m.Run())
	}
}

func loopback() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

// address puts an address on lo, or takes it away.
func address(t testing.TB, prefix string, there bool) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		t.Fatal(err)
	}
	a.Flags = syscall.IFA_F_NODAD
	if there {
		err = netlink.AddrReplace(lo, a)
	} else {
		err = netlink.AddrDel(lo, a)
	}
	if err != nil {
		t.Fatalf("%s on lo: %v", prefix, err)
	}
}
