package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestClimb runs the real thing on a small module of its own.
func TestClimb(t *testing.T) {
	tests := []struct {
		name     string
		patterns []string
		ci       bool
		fuzz     time.Duration
		allow    string
		good     bool
		want     []string // all in the output
		not      []string // none in the output
	}{
		{
			name: "good", patterns: []string{"./good"}, good: true,
			want: []string{
				"ok  \ttree/good", "3 passed, 0 failed, 2 skipped",
				"skipped: tree/good TestParent/two: no root here, and no network\n",
				"skipped: tree/good TestSkips: postfix is not installed\n",
			},
			not: []string{"quiet", "=== RUN", "PASS", "under CI"},
		},
		{
			name: "a skip under CI", patterns: []string{"./good"}, ci: true, good: false,
			want: []string{"2 skipped tests count as failures under CI=true", "3 passed, 0 failed, 2 skipped"},
		},
		{
			name: "an allowed skip under CI", patterns: []string{"./good"}, ci: true, allow: "^tree/good Test", good: true,
			want: []string{"3 passed, 0 failed, 2 skipped"}, not: []string{"under CI"},
		},
		{
			name: "failures", patterns: []string{"./bad", "./good"}, good: false,
			want: []string{
				"the far side has no mail", "deep down", "panic: out of spool",
				"failed: tree/bad TestFails\n    bad_test.go:8: the far side has no mail\n", "failed: tree/bad TestParent/two\n", "failed: tree/bad TestPanics\n",
				"5 passed, 3 failed, 2 skipped",
			},
			not: []string{"failed: tree/bad TestParent\n"},
		},
		{
			name: "a package that does not compile", patterns: []string{"./broken"}, good: false,
			want: []string{"undefined: missing", "failed: tree/broken (no test of its own failed)", "0 passed, 1 failed, 0 skipped"},
		},
		{
			name: "fuzzing that holds", patterns: []string{"./good"}, fuzz: time.Second, good: true,
			want: []string{"ok  \ttree/good\tFuzzHolds: ", " executions\n", "4 passed, 0 failed, 2 skipped"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			o := options{
				dir: tree(t), patterns: tt.patterns, ci: tt.ci, fuzzTime: tt.fuzz,
				timeout: time.Minute, out: &out,
			}
			if tt.allow != "" {
				o.allowSkip = regexp.MustCompile(tt.allow)
			}
			good, err := climb(t.Context(), o)
			if err != nil || good != tt.good {
				t.Errorf("good %v, error %v; want %v, none", good, err, tt.good)
			}
			compare(t, out.String(), tt.want, tt.not)
		})
	}
}

// TestClimbFuzzFinds has a target that fails at once: the finding is shown,
// counted, and kept as a seed.
func TestClimbFuzzFinds(t *testing.T) {
	dir := tree(t)
	var out bytes.Buffer
	good, err := climb(t.Context(), options{
		dir: dir, patterns: []string{"./bad"}, onlyFuzz: true, fuzzTime: 20 * time.Second, timeout: time.Minute, out: &out,
	})
	if err != nil || good {
		t.Errorf("good %v, error %v; want false, none", good, err)
	}
	compare(t, out.String(), []string{
		"longer than two", "failed: tree/bad FuzzFalls (fuzzing)", "0 passed, 1 failed, 0 skipped",
	}, nil)
	seeds, err := filepath.Glob(filepath.Join(dir, "bad/testdata/fuzz/FuzzFalls/*"))
	if err != nil || len(seeds) != 1 {
		t.Errorf("kept inputs %q, error %v; want one", seeds, err)
	}
}

// TestClimbNothing: a run without a test must not look like a good one.
func TestClimbNothing(t *testing.T) {
	for _, pattern := range []string{"./nowhere", "./testdata"} {
		var out bytes.Buffer
		good, err := climb(t.Context(), options{dir: tree(t), patterns: []string{pattern}, timeout: time.Minute, out: &out})
		if err == nil || good {
			t.Errorf("%s: good %v, error %v; want an error", pattern, good, err)
		}
	}
}

func TestParse(t *testing.T) {
	env := func(vars map[string]string) func(string) string {
		return func(name string) string { return vars[name] }
	}
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want options
		bad  string
	}{
		{name: "bare", want: options{patterns: []string{"./..."}, timeout: 20 * time.Minute}},
		{name: "ci", env: map[string]string{"CI": "true"}, want: options{
			patterns: []string{"./..."}, timeout: 20 * time.Minute, ci: true, fuzzTime: 5 * time.Second}},
		{name: "set", args: []string{"-only-fuzz", "./edge/ingress/wire"}, env: map[string]string{"CI": "true", "FUZZTIME": "1m"},
			want: options{patterns: []string{"./edge/ingress/wire"}, timeout: 20 * time.Minute, ci: true, onlyFuzz: true, fuzzTime: time.Minute}},
		{name: "fuzzing alone", args: []string{"-only-fuzz"},
			want: options{patterns: []string{"./..."}, timeout: 20 * time.Minute, onlyFuzz: true, fuzzTime: 30 * time.Second}},
		{name: "bad time", env: map[string]string{"FUZZTIME": "five"}, bad: "FUZZTIME=five: not a duration"},
		{name: "bad expression", args: []string{"-allow-skip", "("}, bad: "-allow-skip"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(tt.args, env(tt.env))
			if tt.bad != "" {
				if err == nil || !strings.Contains(err.Error(), tt.bad) {
					t.Errorf("error %v, want %q", err, tt.bad)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if strings.Join(got.patterns, " ") != strings.Join(tt.want.patterns, " ") || got.ci != tt.want.ci ||
				got.fuzzTime != tt.want.fuzzTime || got.onlyFuzz != tt.want.onlyFuzz || got.timeout != tt.want.timeout {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestFuzzGood(t *testing.T) {
	for _, tt := range []struct {
		name, out string
		want      bool
	}{
		{"pass", "fuzz: elapsed: 1s, execs: 10 (10/sec)\nPASS\nok  \tx\t1s\n", true},
		{"finding", "--- FAIL: FuzzX (0.1s)\n    boom\n    Failing input written to testdata/fuzz/FuzzX/1\nFAIL\n", false},
		{"seed fails", "--- FAIL: FuzzX (0.1s)\n    --- FAIL: FuzzX/seed#0\nFAIL\n", false},
		{"its own time limit", "--- FAIL: FuzzX (5.1s)\n    context deadline exceeded\nFAIL\n", true},
		{"no build", "FAIL\tx [build failed]\n", false},
	} {
		if got := fuzzGood(tt.out); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// tree is a copy of testdata/tree, so that a finding is not written there.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/tree")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func compare(t *testing.T, out string, want, not []string) {
	t.Helper()
	for _, s := range want {
		if !strings.Contains(out, s) {
			t.Errorf("output lacks %q", s)
		}
	}
	for _, s := range not {
		if strings.Contains(out, s) {
			t.Errorf("output has %q", s)
		}
	}
	if t.Failed() {
		t.Logf("output:\n%s", out)
	}
}
