package rules

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// top is what may lie at the top of the tree, beside dot-files.
var top = []string{
	"LICENSE", "Makefile", "README.md", "bgp", "cmd", "docs", "edge", "go.mod", "go.sum", "image",
	"mkosi.conf", "systemd", "tests", "xdp",
}

// Top holds the top level to what is named there.
func Top(t *Tree) []Finding {
	var found []Finding
	seen := map[string]bool{}
	for _, file := range t.Files {
		name, _, _ := strings.Cut(file, "/")
		if strings.HasPrefix(name, ".") || slices.Contains(top, name) || seen[name] {
			continue
		}
		seen[name] = true
		found = append(found, Finding{File: name, Text: "has no place at the top of the tree"})
	}
	return found
}

// foreign is text that ties the tree to one machine: folders of whoever wrote
// it, hosts that packages are fetched from. The patterns are put together from
// halves so that this file does not find itself.
var foreign = []*regexp.Regexp{
	regexp.MustCompile(`(^|[^\w./~-])/(work|root|Users)` + `/[\w.-]`),
	regexp.MustCompile(`(^|[^\w./~-])/home` + `/[\w.-]+/`),
	regexp.MustCompile(`\b(proxy|sum)\.` + `golang\.org\b`),
	regexp.MustCompile(`\b(pypi|npmjs|crates)\.` + `(org|com|io)\b`),
	regexp.MustCompile(`\b(deb|security|snapshot)\.` + `debian\.org\b`),
}

// Text finds what ties a text file to one machine. The examples that prove
// this rule are left out.
func Text(t *Tree) ([]Finding, error) {
	var found []Finding
	for _, file := range t.Files {
		if below(file, "tests/tool/rules/testdata") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(file)))
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(content, 0) >= 0 {
			continue // binary
		}
		n := 0
		for line := range bytes.Lines(content) {
			n++
			for _, pattern := range foreign {
				if match := pattern.Find(line); match != nil {
					found = append(found, Finding{File: file, Line: n, Text: fmt.Sprintf("%q ties the tree to one machine", bytes.TrimSpace(match))})
				}
			}
		}
	}
	return found, nil
}
