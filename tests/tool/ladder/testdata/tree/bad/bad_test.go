// Package bad has tests that fail, and a fuzz target that a second finds out.
package bad

import "testing"

func TestPasses(t *testing.T) {}

func TestFails(t *testing.T) { t.Error("the far side has no mail") }

func TestParent(t *testing.T) {
	t.Run("one", func(t *testing.T) {})
	t.Run("two", func(t *testing.T) { t.Error("deep down") })
}

func TestPanics(t *testing.T) { panic("out of spool") }

func FuzzFalls(f *testing.F) {
	f.Add("")
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 2 {
			t.Fatal("longer than two")
		}
	})
}
