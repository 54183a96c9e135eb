// Package docs tests what the pages in docs/ show: it applies their changes to the tree in memory,
// builds them and runs the tests among them. Nothing is written outside of a temporary folder.
package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// topDir is the top of the tree, as seen from this room.
const topDir = "../.."

// drill is one section of docs/extending.md: what somebody writes who adds one thing.
type drill struct {
	title string
	files map[string]string // path from the top: content after the change
	tests []string          // rooms with a test among the files
}

// fence matches a block that belongs to a drill: new files whole, changes as a diff.
var fence = regexp.MustCompile("(?ms)^```(go|diff|toml) file=(\\S+)\n(.*?)^```$")

// readDrills applies the blocks of docs/extending.md to the files of the tree, in memory.
func readDrills(t *testing.T) (page string, drills []drill) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(topDir, "docs/extending.md"))
	if err != nil {
		t.Fatal(err)
	}
	page = string(text)
	for _, section := range strings.Split(page, "\n## ")[1:] {
		title, _, _ := strings.Cut(section, "\n")
		d := drill{title: title, files: map[string]string{}}
		for _, block := range fence.FindAllStringSubmatch(section, -1) {
			kind, file, text := block[1], block[2], block[3]
			if kind == "diff" {
				text = patched(t, title, file, text)
			} else if _, err := os.Stat(filepath.Join(topDir, file)); err == nil {
				t.Errorf("%s: %s exists already; show the change as a diff", title, file)
			}
			d.files[file] = text
			if strings.HasSuffix(file, "_test.go") {
				d.tests = append(d.tests, "./"+filepath.Dir(file))
			}
		}
		if len(d.files) > 0 {
			drills = append(drills, d)
		}
	}
	return page, drills
}

// patched returns a file of the tree with a change applied that is written as the body of a diff:
// lines that begin with a space, "-" or "+". A line "..." separates places.
func patched(t *testing.T, title, file, change string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(topDir, file))
	if err != nil {
		t.Fatalf("%s: %v", title, err)
	}
	text := string(content)
	for place := range strings.SplitSeq(change, "...\n") {
		var before, after strings.Builder
		for line := range strings.Lines(place) {
			switch line[0] {
			case '-':
				before.WriteString(line[1:])
			case '+':
				after.WriteString(line[1:])
			case ' ':
				before.WriteString(line[1:])
				after.WriteString(line[1:])
			case '\n':
				before.WriteString(line)
				after.WriteString(line)
			default:
				t.Fatalf("%s: %s: the line %q of the diff begins with neither space, - nor +", title, file, line)
			}
		}
		if n := strings.Count(text, before.String()); n != 1 {
			t.Fatalf("%s: %s has these lines %d times; want once:\n%s", title, file, n, before.String())
		}
		text = strings.Replace(text, before.String(), after.String(), 1)
	}
	return text
}

// mostFiles is how many files a drill of docs/extending.md may touch, its consumer and its test
// included.
var mostFiles = map[string]int{
	"A command": 6, "A metric": 2, "A config key": 3, "A check": 4, "A courier": 3,
}

// TestDrills builds what docs/extending.md shows, and runs the tests that it shows.
func TestDrills(t *testing.T) {
	page, drills := readDrills(t)
	if len(drills) != len(mostFiles) {
		t.Errorf("%d drills; want %d", len(drills), len(mostFiles))
	}
	for _, d := range drills {
		t.Run(d.title, func(t *testing.T) {
			most, known := mostFiles[d.title]
			if !known || len(d.files) > most {
				t.Errorf("touches %d files; at most %d", len(d.files), most)
			}
			// The table at the top has "| [a check](#a-check) | 3 | ...".
			row := fmt.Sprintf("| [%s](#%s) | %d |", strings.ToLower(d.title), strings.ReplaceAll(strings.ToLower(d.title), " ", "-"), len(d.files))
			if !strings.Contains(page, row) {
				t.Errorf("the table has no row that begins with %q", row)
			}
			overlay := struct{ Replace map[string]string }{map[string]string{}}
			dir, rooms := t.TempDir(), map[string]bool{}
			top, err := filepath.Abs(topDir)
			if err != nil {
				t.Fatal(err)
			}
			for file, text := range d.files {
				if !strings.HasSuffix(file, ".go") {
					continue
				}
				to := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
				if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				overlay.Replace[filepath.Join(top, file)] = to
				rooms["./"+filepath.Dir(file)] = true
			}
			list, err := json.Marshal(overlay)
			if err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(name, list, 0o644); err != nil {
				t.Fatal(err)
			}
			run := func(args ...string) {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), "go", args...)
				cmd.Dir = top
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("go %s: %v\n%s", strings.Join(args, " "), err, out)
				}
			}
			for room := range rooms {
				run("build", "-overlay", name, "-o", os.DevNull, room)
			}
			for _, room := range d.tests {
				run("test", "-overlay", name, "-count=1", "-run", "Drill", room)
			}
		})
	}
}
