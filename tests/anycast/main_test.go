// GoBGP takes what listens for plain TCP. On an MPTCP socket it could set no
// options, and would only log that.
//go:debug multipathtcp=0

// Package anycast tests anymx-bgp beside anymx-edge as a node runs them: real
// programs, real service addresses on lo, and routers at the far side whose
// tables show what it announced.
//
// What happens to the data: the tests run in a network namespace of
// their own, where they may put addresses on lo and take port 25. Nothing leaves
// it, and it ends with them.
package anycast

import (
	"os"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

func TestMain(m *testing.M) { os.Exit(kit.InNamespace(func() int { return pop.Main(m) })) }

// needNamespace skips a test where it can't put addresses on lo of a network namespace.
func needNamespace(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, for addresses on lo")
	}
	kit.NeedNamespace(t)
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
