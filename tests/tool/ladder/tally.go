package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"sort"
	"strings"
	"time"
)

// event is one line of `go test -json` (see `go doc test2json`).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output and build-fail, instead of Package
	Test        string
	Output      string
	FailedBuild string
	Elapsed     float64 // seconds, of what has ended
}

// result is the outcome of one test, or of a package that failed outside of its tests.
type result struct {
	name   string   // "package TestName"
	action string   // "pass", "fail" or "skip"
	reason string   // of a skip, in one line
	said   []string // by a failed test: the first line of each of its last messages
}

// Tally prints the events of test runs the way a reader of `go test` expects and counts the results.
// Of a test with subtests, the subtests are counted.
type Tally struct {
	// Began and Ended are called when the tests of a package begin and end. They may be nil.
	Began, Ended func(pkg string)

	out      io.Writer
	results  []result
	packages map[string]*packageRun
}

// packageRun is the state of a package until it ends.
type packageRun struct {
	order   []string                    // tests in the order of their first event
	outputs map[string]*strings.Builder // by test; printed for failed tests only
	actions map[string]string
}

// slow is the duration from which on a test gets a line of its own when it ends.
const slow = 30 * time.Second

// NewTally returns a Tally that prints to out.
func NewTally(out io.Writer) *Tally {
	return &Tally{out: out, packages: map[string]*packageRun{}}
}

// Read reads events until r ends. It prints lines that are not events.
func (t *Tally) Read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil || e.Action == "" {
				fmt.Fprintf(t.out, "%s", line)
			} else {
				t.addEvent(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// addEvent records one event and prints what it shows.
func (t *Tally) addEvent(e event) {
	if e.Action == "build-output" {
		fmt.Fprint(t.out, e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	run := t.packages[e.Package]
	if run == nil {
		run = &packageRun{outputs: map[string]*strings.Builder{}, actions: map[string]string{}}
		t.packages[e.Package] = run
	}
	switch e.Action {
	case "start":
		if t.Began != nil {
			t.Began(e.Package)
		}
	case "output":
		if e.Test == "" {
			t.packageOutput(e.Output)
			return
		}
		run.output(e.Test).WriteString(e.Output)
	case "run":
		run.output(e.Test)
	case "pass", "fail", "skip":
		if e.Test != "" {
			run.actions[e.Test] = e.Action
			if e.Elapsed >= slow.Seconds() {
				fmt.Fprintf(t.out, "%s: %s %s took %.0f s\n", e.Action, e.Package, e.Test, e.Elapsed)
			}
			return
		}
		t.end(e, run)
		if t.Ended != nil {
			t.Ended(e.Package)
		}
		delete(t.packages, e.Package)
	}
}

// packageOutput prints output that belongs to no test: "ok", panics, reports of races.
func (t *Tally) packageOutput(s string) {
	if s == "PASS\n" || s == "FAIL\n" || strings.HasPrefix(s, "?   \t") {
		return
	}
	fmt.Fprint(t.out, s)
}

func (run *packageRun) output(test string) *strings.Builder {
	b := run.outputs[test]
	if b == nil {
		b = new(strings.Builder)
		run.outputs[test] = b
		run.order = append(run.order, test)
	}
	return b
}

// end prints a package's failed tests and counts its tests. A test that never ended (a panic, a
// timeout) counts as failed, and a package that failed without a failed test (a build, TestMain)
// counts as one failure.
func (t *Tally) end(e event, run *packageRun) {
	parent := map[string]bool{}
	for _, test := range run.order {
		for i := strings.LastIndexByte(test, '/'); i > 0; i = strings.LastIndexByte(test[:i], '/') {
			parent[test[:i]] = true
		}
	}
	failed := false
	for _, test := range run.order {
		action := run.actions[test]
		if action == "" {
			action = "fail"
		}
		text := shown(run.outputs[test].String())
		if action == "fail" {
			failed = true
			fmt.Fprint(t.out, text)
		}
		// A parent counts only if it failed and none of its subtests did.
		if parent[test] && (action != "fail" || run.childFailed(test)) {
			continue
		}
		r := result{name: e.Package + " " + test, action: action}
		switch action {
		case "skip":
			r.reason = skipReason(text)
		case "fail":
			r.said = messages(text)
		}
		t.results = append(t.results, r)
	}
	if e.Action == "fail" && !failed {
		t.results = append(t.results, result{name: e.Package + " (no test of its own failed)", action: "fail"})
	}
}

func (run *packageRun) childFailed(test string) bool {
	return slices.ContainsFunc(run.order, func(other string) bool {
		return strings.HasPrefix(other, test+"/") && run.actions[other] != "pass" && run.actions[other] != "skip"
	})
}

var noise = regexp.MustCompile(`(?m)^=== (RUN|PAUSE|CONT|NAME) .*\n`)

// shown returns a test's output without the lines that only report that it runs.
func shown(s string) string { return noise.ReplaceAllString(s, "") }

var skipLine = regexp.MustCompile(`^\s*--- SKIP: |^\s*[\w.-]+\.go:\d+: ?`)

// skipReason returns the output of a skipped test in one line, without file and line number.
func skipReason(text string) string {
	var words []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimSpace(line), "--- SKIP: ") {
			continue
		}
		words = append(words, strings.Fields(skipLine.ReplaceAllString(line, ""))...)
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

var message = regexp.MustCompile(`(?m)^\s*([\w.-]+\.go:\d+: .{1,300})`)

// messages returns the first line of each of a test's last messages, at most eight. The whole output
// is printed where the test failed; this is for readers who see only the end of a long log.
func messages(text string) (all []string) {
	for _, m := range message.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all[max(0, len(all)-8):]
}

// Fuzzed counts a fuzz target.
func (t *Tally) Fuzzed(pkg, target string, good bool) {
	action := "pass"
	if !good {
		action = "fail"
	}
	t.results = append(t.results, result{name: pkg + " " + target + " (fuzzing)", action: action})
}

// Summary prints what failed, what was skipped and why, and the counts. It reports whether nothing
// failed and, under CI, nothing was skipped that allow does not match.
func (t *Tally) Summary(ci bool, allow *regexp.Regexp, took time.Duration) bool {
	var passed, failed, skipped, refused int
	sort.SliceStable(t.results, func(i, j int) bool { return t.results[i].name < t.results[j].name })
	for _, r := range t.results {
		switch r.action {
		case "pass":
			passed++
		case "fail":
			failed++
			fmt.Fprintf(t.out, "failed: %s\n", r.name)
			for _, line := range r.said {
				fmt.Fprintf(t.out, "    %s\n", line)
			}
		case "skip":
			skipped++
			fmt.Fprintf(t.out, "skipped: %s: %s\n", r.name, r.reason)
			if ci && (allow == nil || !allow.MatchString(r.name)) {
				refused++
			}
		}
	}
	if refused > 0 {
		fmt.Fprintf(t.out, "%d skipped tests count as failures under CI=true: install what they need, or name them with -allow-skip\n", refused)
	}
	if passed+failed+skipped == 0 {
		fmt.Fprintln(t.out, "no test ran")
	}
	fmt.Fprintf(t.out, "the tests took %s\n", took.Round(time.Second))
	// Programs parse this line: it stays as it is, and last.
	fmt.Fprintf(t.out, "%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return failed == 0 && refused == 0 && passed > 0
}
