package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"
)

// For any text: no panic; a refusal is one *Errors that names file, line and reason in one line
// each; an accepted config is valid, and reading back its text gives the same config.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*/anymx.toml", "testdata/good/*.toml"} {
		for _, file := range glob(f, pattern, 3) {
			f.Add([]byte(readFile(f, file)))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := strings.Count(string(data), "\n") + 1
		c, err := Parse("some.toml", data)
		if err != nil {
			var errs *Errors
			if !errors.As(err, &errs) || len(errs.Problems) == 0 || c != nil {
				t.Fatalf("got %v, %T %v", c, err, err)
			}
			for _, p := range errs.Problems {
				if p.File != "some.toml" || p.Line < 1 || p.Line > lines || p.Column < 1 || p.Reason == "" {
					t.Fatalf("%+v in a file of %d lines", p, lines)
				}
				if line := p.Error(); strings.ContainsAny(line, "\r\n\x00\x1b") {
					t.Fatalf("more than a line of text: %q", line)
				}
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Fatalf("accepted, and not valid: %v", err)
		}
		text, err := toml.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range c.CoreNames() {
			group, err := toml.Marshal(c.Cores[name])
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, "\n[core."+name+"]\n"+string(group)...)
		}
		again, err := Parse("again.toml", text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !reflect.DeepEqual(c, again) {
			t.Fatalf("read back as something else:\n%+v\n%+v\n%s", c, again, text)
		}
	})
}
