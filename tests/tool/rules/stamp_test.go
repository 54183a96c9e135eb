package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestProgramsAreStamped holds what the two builds of what ships tell the linker against the variables
// that there are: the linker says nothing of a name that is not there.
func TestProgramsAreStamped(t *testing.T) {
	stamp := regexp.MustCompile(`-X anymx/edge/operate/api\.(\w+)=`)
	for _, build := range []string{"Makefile", "image/build"} {
		text, err := os.ReadFile(filepath.Join("../../..", build))
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range stamp.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
		for _, want := range []string{"release", "built"} {
			if !slices.Contains(names, want) {
				t.Errorf("%s does not set api.%s", build, want)
			}
		}
		for _, name := range names {
			if !declares(t, "../../../edge/operate/api", regexp.MustCompile(`(?m)^var `+name+` string$`)) {
				t.Errorf("%s sets api.%s, which is not a string there", build, name)
			}
		}
	}
}

// declares says whether a Go file of a folder has a line.
func declares(t *testing.T, dir string, line *regexp.Regexp) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return line.Match(text)
	})
}
