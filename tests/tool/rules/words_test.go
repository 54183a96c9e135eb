package rules

import (
	"flag"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

var room = flag.String("room", "", "the room whose banned words TestWords lists, such as edge/queue (all: all rooms)")

// TestWords lists the banned words of one room, also of one that is exempt. Without -room it checks
// that each stored name is still in its source: TestTree holds the rooms that are not exempt to the
// words of the field.
func TestWords(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	if *room == "" {
		for _, s := range stored {
			text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(s.file)))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), `"`+s.word+`"`) {
				t.Errorf("%s has no name %q; delete it from stored in wordlist.go", s.file, s.word)
			}
		}
		return
	}
	tree, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	found, err := Words(tree, func(file string) bool {
		return isWordList(file) || *room != "all" && roomOf(file) != *room
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
}

// roomOf is the room that file belongs to: its folder, without testdata.
func roomOf(file string) string {
	room, _, _ := strings.Cut(path.Dir(file), "/testdata")
	return room
}
