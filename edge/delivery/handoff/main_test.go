package handoff

import (
	"os"
	"testing"

	"anymx/tests/kit"
)

func TestMain(m *testing.M) { os.Exit(kit.Run(m, kit.Leaks{Files: true})) }
