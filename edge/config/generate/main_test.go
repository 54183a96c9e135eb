package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"anymx/edge/config"
)

// What is committed is what the structs say.
func TestUpToDate(t *testing.T) {
	files, err := outputs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s is out of date: run `%s`", filepath.Base(path), command)
		}
	}
}

func TestSentence(t *testing.T) {
	for doc, want := range map[string]string{
		"Name is the node's own\nname. Two.": "The node's own name. Two.",
		"Name are the peers.":                "The peers.",
		"Name refuses it.":                   "Refuses it.",
		"The name.":                          "",
		"Names of it.":                       "",
		"":                                   "",
	} {
		if got := sentence("Name", doc); got != want {
			t.Errorf("%q: got %q, want %q", doc, got, want)
		}
	}
}

// A key without a comment, a section without markers and a marker without a section are refused.
func TestRefused(t *testing.T) {
	one := config.Section{Path: "a", Type: "A", Keys: []config.Key{{Name: "k", Field: "K", Type: reflect.TypeFor[int](), Default: "1"}}}
	marks := "<!-- keys of a: " + command + " -->\nold\n" + end
	docs := comments{"A.K": "The key."}
	for name, x := range map[string]struct {
		page string
		docs comments
		want string
	}{
		"no comment":      {marks, comments{}, "config.A.K has no doc comment"},
		"no markers":      {"", docs, "has no markers"},
		"no end":          {strings.TrimSuffix(marks, end), docs, "has no markers"},
		"unknown section": {marks + "<!-- keys of b: -->\n", docs, "2 tables are marked"},
	} {
		if _, err := fillTables(x.page, one, x.docs); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: got %v, want %q", name, err, x.want)
		}
	}
}
