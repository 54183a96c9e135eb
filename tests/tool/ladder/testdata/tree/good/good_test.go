// Package good has tests that pass and skip, and a fuzz target that holds.
package good

import "testing"

func TestPasses(t *testing.T) { t.Log("quiet") }

func TestParent(t *testing.T) {
	t.Run("one", func(t *testing.T) {})
	t.Run("two", func(t *testing.T) { t.Skip("no root here,\nand no network") })
}

func TestSkips(t *testing.T) { t.Skip("postfix is not installed") }

func FuzzHolds(f *testing.F) {
	f.Add("seed")
	f.Fuzz(func(t *testing.T, s string) {})
}
