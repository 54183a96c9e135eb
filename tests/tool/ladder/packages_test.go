package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A folder that was moved or removed must not stay in a list, where it would mean nothing.
func TestListedFoldersExist(t *testing.T) {
	for _, room := range slices.Concat(plain, apart, long) {
		if _, err := os.Stat(filepath.Join("../../..", room)); err != nil {
			t.Error(err)
		}
	}
}

func TestLongFirst(t *testing.T) {
	var packages []testPackage
	for _, room := range []string{"cmd/anymx", "edge/queue", "edge/spool", "edge/spool/salvage", "tests/lab"} {
		p := testPackage{ImportPath: "anymx/" + room}
		p.Module.Path = "anymx"
		packages = append(packages, p)
	}
	longFirst(packages)
	var rooms []string
	for _, p := range packages {
		rooms = append(rooms, p.room())
	}
	if want := []string{"tests/lab", "edge/spool", "edge/queue", "cmd/anymx", "edge/spool/salvage"}; !slices.Equal(rooms, want) {
		t.Errorf("order %q, want %q", rooms, want)
	}
}
