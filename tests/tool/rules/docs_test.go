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
	boxes := regexp.MustCompile(`\["((?:cmd|edge|bgp|xdp)[\w/-]*)<br>([\w., ]+?)(?:<br>[^"]*)?"\]`).FindAllStringSubmatch(architecture(t), -1)
	if len(boxes) < 15 {
		t.Fatalf("%d boxes name a room and functions; want at least 15", len(boxes))
	}
	for _, box := range boxes {
		namesFunctions(t, box[1], strings.Split(box[2], ", "))
	}
}

// TestRouteOfAMessage compares the functions that docs/architecture.md lists for a message with the code: a reader has to look at
// no more than 40 of them.
func TestRouteOfAMessage(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| `(edge/[\\w/-]*)` \\| (`[A-Za-z]+.*) \\|$").FindAllStringSubmatch(architecture(t), -1)
	n := 0
	for _, row := range rows {
		list, _, _ := strings.Cut(row[2], ":")
		names := strings.Split(strings.ReplaceAll(list, "`", ""), ", ")
		namesFunctions(t, row[1], names)
		n += len(names)
	}
	if n < 30 || n > 40 {
		t.Errorf("the list has %d functions in %d rows; want 30 to 40", n, len(rows))
	}
}

func architecture(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(topDir, "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// namesFunctions checks that a room has the functions and methods with these names.
func namesFunctions(t *testing.T, room string, names []string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(topDir, room)); err != nil {
		t.Errorf("the room %s doesn't exist", room)
		return
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
