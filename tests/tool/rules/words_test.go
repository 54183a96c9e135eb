package rules

import (
	"flag"
	"path/filepath"
	"slices"
	"testing"
)

var room = flag.String("room", "", "the room whose banned words TestWords lists, such as edge/spool (all: all that are not exempt)")

// TestWords lists the banned words of one room, also of one that is unread or exempt. Without -room it
// checks that each unread room still has some: TestTree holds all other rooms to the words of the
// field.
func TestWords(t *testing.T) {
	tree, err := Read(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	found, err := Words(tree, func(file string) bool {
		if isWordList(file) || *room == "all" || *room == "" {
			return isWordList(file) || isExempt(file)
		}
		return roomOf(file) != *room
	})
	if err != nil {
		t.Fatal(err)
	}
	if *room == "" {
		corrected := slices.Clone(unread)
		for _, f := range found {
			corrected = slices.DeleteFunc(corrected, func(room string) bool { return room == roomOf(f.File) })
		}
		for _, room := range corrected {
			t.Errorf("%s has no banned word; delete it from unread in wordlist.go", room)
		}
		return
	}
	for _, f := range found {
		t.Error(f)
	}
}
