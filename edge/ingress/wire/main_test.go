package wire

import (
	"os"
	"testing"

	"anymx/tests/kit"
)

// TestMain fails the tests if a goroutine of theirs outlives them.
func TestMain(m *testing.M) {
	os.Exit(kit.Run(m, kit.Leaks{Of: []string{"anymx/edge/ingress/wire"}}))
}
