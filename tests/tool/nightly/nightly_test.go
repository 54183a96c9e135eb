package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const budget = 12 * time.Minute

// One commit always draws the same parts, they fit into the budget, and within eighty
// commits each part was drawn a few times, but for those that are random.
func TestSample(t *testing.T) {
	drawn := map[string]int{}
	for i := range 80 {
		commit := fmt.Sprintf("%040x", 0x1234567*(i+1))
		picked := sample(parts, commit, budget)
		again := sample(parts, commit, budget)
		if !slices.EqualFunc(picked, again, func(a, b part) bool { return a.name == b.name }) {
			t.Errorf("%s draws two samples", commit)
		}
		var all time.Duration
		for _, p := range picked {
			all += p.took
			drawn[p.name]++
		}
		if all > budget || all < budget/2 {
			t.Errorf("%s: a sample of %v", commit, all)
		}
	}
	for _, p := range parts {
		if drawn[p.name] < 3 && !p.random || drawn[p.name] > 0 && p.random {
			t.Errorf("%s was drawn by %d of 80 commits", p.name, drawn[p.name])
		}
	}
}

// Each part fits into a sample, names rooms that exist, and tests that are there.
func TestParts(t *testing.T) {
	names := map[string]bool{}
	for _, p := range parts {
		if p.took <= 0 || p.took > budget || p.what == "" || names[p.name] {
			t.Errorf("%+v", p)
		}
		names[p.name] = true
		for i, arg := range p.args {
			if room, ok := strings.CutPrefix(arg, "./"); ok {
				if files, err := filepath.Glob("../../../" + room + "/*_test.go"); err != nil || len(files) == 0 {
					t.Errorf("%s: %s has no tests", p.name, arg)
				}
			}
			if arg == "-run" {
				name := regexp.MustCompile(`Test\w+`).FindString(p.args[i+1])
				if room := "../../../" + p.args[len(p.args)-1]; !strings.Contains(read(t, room), "func "+name+"(") {
					t.Errorf("%s: there is no test %s", p.name, name)
				}
			}
		}
	}
}

// Every room that has fuzz targets is in a part, and so is every test of the image that
// is not in the core.
func TestNothingIsLeftOut(t *testing.T) {
	var all []string
	for _, p := range parts {
		all = append(all, p.args...)
	}
	run := strings.Join(all, " ") + " " + read(t, "../../../Makefile")
	for _, name := range regexp.MustCompile(`(?m)^func (Test\w+)\(t `).FindAllStringSubmatch(read(t, "../../image"), -1) {
		if !strings.Contains(run, name[1]) {
			t.Errorf("tests/image %s is in no part, nor in the core", name[1])
		}
	}
	for _, name := range regexp.MustCompile(`t\.Run\("([^"]+)"`).FindAllStringSubmatch(read(t, "../../image/update_test.go"), -1) {
		if !strings.Contains(run, strings.ReplaceAll(name[1], " ", "_")) {
			t.Errorf("TestUpdates, %s is in no part, nor in the core", name[1])
		}
	}
	files, err := exec.Command("grep", "-rl", "--include=*_test.go", "^func Fuzz", "../../../bgp", "../../../cmd", "../../../edge", "../../../image", "../../../tests", "../../../xdp").Output()
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.Lines(string(files)) {
		room := strings.Replace(filepath.Dir(file), "../../..", ".", 1)
		if !strings.Contains(room, "testdata") && !slices.Contains(all, room) {
			t.Errorf("the fuzz targets of %s are in no part", room)
		}
	}
}

func TestRun(t *testing.T) {
	ladder := filepath.Join(t.TempDir(), "ladder")
	if err := os.WriteFile(ladder, []byte("#!/bin/sh\necho \"$FUZZTIME $*\"\ntest \"$1\" != -only-fuzz\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := nightly(t.Context(), []string{"-ladder", ladder, "fuzz-mail", "soak"}, &out)
	if err == nil || err.Error() != "failed: fuzz-mail" {
		t.Errorf("%v", err)
	}
	for _, want := range []string{"20s -only-fuzz ./edge/mail", "./tests/soak", `fuzz-mail +\d:\d\d +4:00  FAILED: exit status 1\n`, `soak +\d:\d\d +4:00\n`} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if err := nightly(t.Context(), []string{"nothing"}, &out); err == nil || !strings.Contains(err.Error(), `unknown part "nothing"`) {
		t.Errorf("%v", err)
	}
}

// read returns the text of a file, or of all files of a folder.
func read(t *testing.T, name string) string {
	t.Helper()
	files := []string{name}
	if info, err := os.Stat(name); err != nil {
		t.Fatal(err)
	} else if info.IsDir() {
		if files, err = filepath.Glob(name + "/*"); err != nil {
			t.Fatal(err)
		}
	}
	var all []byte
	for _, file := range files {
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text...)
	}
	return string(all)
}
