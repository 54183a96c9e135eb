package core

import (
	"os"
	"testing"

	"anymx/tests/kit"
)

// TestMain fails if a test leaks a goroutine. The kill test runs this binary again as a server.
func TestMain(m *testing.M) {
	if dir := os.Getenv(serverEnv); dir != "" {
		serveUntilKilled(dir)
	}
	os.Exit(kit.Run(m, kit.Leaks{
		Of:     []string{"anymx/edge", "emersion/go-smtp"},
		Except: []string{").guard.func"}, // a failed engine keeps it
	}))
}
