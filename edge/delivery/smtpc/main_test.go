package smtpc

import (
	"os"
	"testing"

	"anymx/tests/kit"
)

func TestMain(m *testing.M) {
	if os.Getenv(sinkEnv) != "" {
		sink()
		return
	}
	os.Exit(kit.Run(m, kit.Leaks{Files: true}))
}
