package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestSizes shows at which lengths Sizes finds a file or a function, and that a reason excuses it.
func TestSizes(t *testing.T) {
	lines := func(n int) string { return strings.Repeat("\n", n) }
	fn := func(doc, name string, length int) string {
		return doc + "func " + name + "() {" + lines(length-1) + "}\n"
	}
	reason := "// " + longMark + "the table of all codes is one list.\n"
	files := map[string]string{
		"limit.go":      "package queue\n" + lines(fileLimit-1),
		"schedule.go":   "package queue\n" + lines(fileLimit),
		"table.go":      "package queue\n\n" + reason + lines(fileLimit),
		"bodies.go":     "package queue\n\n" + fn(reason, "f", 3) + lines(fileLimit), // of the function alone
		"empty.go":      "package queue\n\n// " + longMark + "\n" + lines(fileLimit),
		"queue.go":      "package queue\n\n" + fn("", "limit", funcLimit) + fn("", "long", funcLimit+1) + fn(reason, "excused", funcLimit+1),
		"queue_test.go": "package queue\n\n" + fn("", "story", funcLimit+1),
	}
	dir := t.TempDir()
	room := filepath.Join(dir, "edge", "queue")
	if err := os.MkdirAll(room, 0o755); err != nil {
		t.Fatal(err)
	}
	files["../../go.mod"] = "module sizes\n"
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(room, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range Sizes(tree) {
		place, _, _ := strings.Cut(f.String(), ", and ")
		got = append(got, strings.TrimPrefix(place, "edge/queue/"))
	}
	slices.Sort(got)
	want := []string{
		fmt.Sprintf("bodies.go: %d lines", 2+4+fileLimit),
		fmt.Sprintf("empty.go: %d lines", 3+fileLimit),
		fmt.Sprintf("queue.go:%d: long: %d lines", 3+funcLimit, funcLimit+1),
		fmt.Sprintf("schedule.go: %d lines", fileLimit+1),
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
