package kit

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// leakLimit is how long goroutines and files may outlive the tests.
const leakLimit = 5 * time.Second

// Leaks says what tests may not leave behind.
type Leaks struct {
	// Of lists what a goroutine's stack contains if it counts, such as "anymx/bgp."; empty counts
	// all goroutines that did not exist before.
	Of []string
	// Except lists what the stack of a goroutine contains that does not count.
	Except []string
	// Files also counts open file descriptors.
	Files bool
}

// spareFiles is how many descriptors Go's runtime opens for itself once it uses the network.
const spareFiles = 4

// Run runs the tests of a package for its TestMain and returns the exit code: 1 also where the
// tests pass and leave something behind.
func Run(m *testing.M, l Leaks) int {
	flag.Parse()
	before, files := stacks(), openFiles()
	code := m.Run()
	if fuzz := flag.Lookup("test.fuzz"); code != 0 || fuzz != nil && fuzz.Value.String() != "" {
		return code // the fuzzing engine keeps a goroutine for signals
	}
	var left []string
	if !Within(leakLimit, func() bool { left = l.left(before); return len(left) == 0 }) {
		fmt.Fprintf(os.Stderr, "the tests left %d goroutines behind:\n%s\n", len(left), strings.Join(left, "\n\n"))
		return 1
	}
	if l.Files && !Within(leakLimit, func() bool { return openFiles() <= files+spareFiles }) {
		fmt.Fprintf(os.Stderr, "the tests left files open: %d now, %d before\n", openFiles(), files)
		return 1
	}
	return 0
}

// NoLeaks fails the test at its end if goroutines that were started during it still run. The test
// must not run in parallel with others.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := stacks()
	t.Cleanup(func() {
		var left []string
		if !Within(leakLimit, func() bool { left = Leaks{}.left(before); return len(left) == 0 }) {
			t.Errorf("%d goroutines are left:\n%s", len(left), strings.Join(left, "\n\n"))
		}
	})
}

// left are the stacks of the goroutines that count, apart from those in before.
func (l Leaks) left(before map[string]string) []string {
	var left []string
	for id, stack := range stacks() {
		holds := func(text string) bool { return strings.Contains(stack, text) }
		_, old := before[id]
		if !old && (len(l.Of) == 0 || slices.ContainsFunc(l.Of, holds)) && !slices.ContainsFunc(l.Except, holds) {
			left = append(left, stack)
		}
	}
	return left
}

// stacks are the stacks of all goroutines but the calling one, by id.
func stacks() map[string]string {
	text := make([]byte, 8<<20)
	text = text[:runtime.Stack(text, true)]
	all := map[string]string{}
	first := true // the calling one
	for stack := range strings.SplitSeq(string(text), "\n\n") {
		id, _, _ := strings.Cut(strings.TrimPrefix(stack, "goroutine "), " ")
		if !first {
			all[id] = stack
		}
		first = false
	}
	return all
}

// Stacks are the stacks of all goroutines but the calling one, for a message.
func Stacks() string { return strings.Join(slices.Sorted(maps.Values(stacks())), "\n\n") }

// openFiles counts the file descriptors of this process.
func openFiles() int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(files)
}
