package main

import (
	"os"
	"testing"
)

func TestPageIsCurrent(t *testing.T) {
	got, err := os.ReadFile("../../../../docs/replies.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != page() {
		t.Error("docs/replies.md is not current: run go run ./edge/judge/replies/generate at the top of the tree")
	}
}
