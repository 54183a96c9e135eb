package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const docFile = "../../docs/config.md"

// fence returns the text of the block in the documentation that starts with ```name.
func fence(t *testing.T, name string) string {
	t.Helper()
	_, rest, found := strings.Cut(readFile(t, docFile), "\n```"+name+"\n")
	block, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		t.Fatalf("%s has no block %q", docFile, name)
	}
	return block + "\n"
}

func TestDocExamples(t *testing.T) {
	for _, name := range []string{"toml minimal", "toml complete", "toml anycast"} {
		if _, err := Parse(name, []byte(fence(t, name))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Parse("anymx.toml", []byte(fence(t, "toml broken")))
	if got, want := fmt.Sprintln(err), fence(t, "text broken"); got != want {
		t.Errorf("the file shown gives:\n%s\nand not, as shown:\n%s", got, want)
	}
}

// Every key documents how a change takes effect, and a missing required key is an error.
func TestKeys(t *testing.T) {
	count := 0
	var walk func(Section)
	walk = func(s Section) {
		for _, k := range s.Keys {
			count++
			if k.Change != ChangeReload && k.Change != ChangeRestart {
				t.Errorf("[%s] %s has change:%q", s.Path, k.Name, k.Change)
			}
			if k.Required() || k.Unless != "" {
				checkRequired(t, s.Path, k.Name)
			}
		}
		for _, sub := range s.Inside {
			walk(sub)
		}
	}
	walk(Describe())
	if count < 144 {
		t.Errorf("%d keys", count)
	}
}

// An invalid tag is found when the program starts, which every test does.
func TestBadTags(t *testing.T) {
	for name, section := range map[string]any{
		"default": struct {
			X Duration `toml:"x" default:"5 minutes"`
		}{},
		"limit": struct {
			X int `toml:"x" min:"1KiB"`
		}{},
		"format": struct {
			X string `toml:"x" format:"colour"`
		}{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			describe(reflect.TypeOf(section), "")
		}()
	}
}

// checkRequired removes a key from the complete example and expects an error that names it.
func checkRequired(t *testing.T, section, name string) {
	header := regexp.MustCompile(`^\[+` + regexp.QuoteMeta(section) + `\]+`)
	lines := strings.Split(fence(t, "toml complete"), "\n")
	at := slices.IndexFunc(lines, header.MatchString)
	key := slices.IndexFunc(lines[max(at, 0):], func(line string) bool { return strings.HasPrefix(line, name+" ") })
	if at < 0 || key < 0 {
		t.Fatalf("the complete example has no [%s] %s", section, name)
	}
	lines = slices.Delete(lines, at+key, at+key+1)
	_, err := Parse("f", []byte(strings.Join(lines, "\n")))
	missed := regexp.MustCompile(`(?m)^f:\d+:` + regexp.QuoteMeta(section) + `(\[0\])?\.` + name + `: missing`)
	if err == nil || !missed.MatchString(err.Error()) {
		t.Errorf("[%s] %s is documented as required; without it: %v", section, name, err)
	}
}
