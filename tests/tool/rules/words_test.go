package rules

import (
	"flag"
	"path/filepath"
	"testing"
)

var room = flag.String("room", "", "the room whose banned words TestWords lists, such as edge/spool (all: all that are not exempt)")

// TestWords lists the banned words of one room, also of one that is unread or exempt. TestTree
// holds all other rooms to the words of the field.
func TestWords(t *testing.T) {
	if *room == "" {
		t.Skip("-room names no room")
	}
	tree, err := Read(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	found, err := Words(tree, func(file string) bool {
		if isWordList(file) || *room == "all" {
			return isWordList(file) || isExempt(file)
		}
		return roomOf(file) != *room
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}
