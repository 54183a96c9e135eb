package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// topDir is the top of the tree, as seen from this room.
const topDir = "../../.."

// TestPicturesNameRealFunctions compares the boxes of docs/architecture.md with the code. A box that
// names a room has the room in its first line and functions or methods of it in its second.
func TestPicturesNameRealFunctions(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(topDir, "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	boxes := regexp.MustCompile(`\["((?:cmd|edge|bgp|xdp)[\w/-]*)<br>([\w., ]+?)(?:<br>[^"]*)?"\]`).FindAllStringSubmatch(string(page), -1)
	if len(boxes) < 15 {
		t.Fatalf("%d boxes name a room and functions; want at least 15", len(boxes))
	}
	for _, box := range boxes {
		room, names := box[1], strings.Split(box[2], ", ")
		if _, err := os.Stat(filepath.Join(topDir, room)); err != nil {
			t.Errorf("the room %s doesn't exist", room)
			continue
		}
		for _, name := range names {
			pattern := regexp.MustCompile(`(?m)^func ` + name + `(\[.*\])?\(`)
			if typ, method, ok := strings.Cut(name, "."); ok {
				pattern = regexp.MustCompile(`(?m)^func \((\w+ )?\*?` + typ + `(\[\w+\])?\) ` + method + `\(`)
			}
			if !declares(t, filepath.Join(topDir, room), pattern) {
				t.Errorf("%s has no function %s", room, name)
			}
		}
	}
}
