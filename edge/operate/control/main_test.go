package control

import (
	"os"
	"testing"

	"anymx/tests/kit"
)

// TestMain fails if a test leaks a goroutine of this package.
func TestMain(m *testing.M) {
	os.Exit(kit.Run(m, kit.Leaks{Of: []string{"anymx/edge/operate/control"}}))
}
