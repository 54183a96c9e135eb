// GoBGP takes what listens for plain TCP. On an MPTCP socket it could set no
// password and no TTL, and would only log that.
//go:debug multipathtcp=0

package bgp

import (
	"os"
	"testing"

	"anymx/tests/kit"
)

// TestMain fails the tests if a goroutine of theirs outlives them: the
// speaker's, or one of the routers at the far side.
func TestMain(m *testing.M) {
	os.Exit(kit.Run(m, kit.Leaks{Of: []string{"anymx/bgp.", "osrg/gobgp"}}))
}
