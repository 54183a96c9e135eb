package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// testPackage is one package that has tests.
type testPackage struct {
	ImportPath string
	Dir        string
	Module     struct{ Path string }

	TestGoFiles, XTestGoFiles []string
}

// plain lists the folders whose tests run without the race detector. They build programs and drive
// them from outside, where the detector sees nothing and takes several times as long.
var plain = []string{
	"tests/anycast", "tests/tool/bench", "tests/image", "tests/interop", "tests/lab", "tests/tool/ladder", "tests/network", "tests/tool/nightly", "tests/node", "tests/tool/rules", "tests/tool/run", "tests/soak", "tests/vm",
}

// twice lists the folders whose tests run a second time without the race detector: they simulate a node,
// and how much they find depends on how many seeds they come to.
var twice = []string{"edge/queue"}

// apart lists the folders whose tests run only if they are named. They need the image and half an hour
// (make test-image).
var apart = []string{"tests/image"}

// long lists the folders whose tests take a minute and more, longest first. They begin before the
// others, so that none of them runs alone at the end.
var long = []string{
	"tests/lab", "edge/spool", "tests/network", "tests/anycast", "tests/node", "edge/queue", "edge/uplink/tunnel",
}

// longFirst orders packages so that the long ones come first.
func longFirst(packages []testPackage) {
	rank := func(p testPackage) int {
		if i := slices.Index(long, p.room()); i >= 0 {
			return i
		}
		return len(long)
	}
	slices.SortStableFunc(packages, func(a, b testPackage) int { return rank(a) - rank(b) })
}

// room returns p's folder in its module: "edge/spool".
func (p testPackage) room() string { return strings.TrimPrefix(p.ImportPath, p.Module.Path+"/") }

// within reports whether p is one of the folders or below one.
func (p testPackage) within(rooms []string) bool {
	room := p.room()
	for _, name := range rooms {
		if room == name || strings.HasPrefix(room, name+"/") {
			return true
		}
	}
	return false
}

// raced reports whether p runs with the race detector.
func (p testPackage) raced() bool { return !p.within(plain) }

// runsIn reports whether p's tests belong to the group.
func (p testPackage) runsIn(raced, alone bool) bool {
	if p.within(apart) != alone {
		return false
	}
	return p.raced() == raced || !raced && p.within(twice)
}

// fuzzTargets returns the names of p's FuzzX functions.
func (p testPackage) fuzzTargets() ([]string, error) {
	var names []string
	files := token.NewFileSet()
	for _, name := range append(append([]string(nil), p.TestGoFiles...), p.XTestGoFiles...) {
		file, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Fuzz") && f.Type.Params.NumFields() == 1 {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names, nil
}

// list returns the packages that have tests.
func list(ctx context.Context, dir string, patterns []string) ([]testPackage, error) {
	args := append([]string{"list", "-json=ImportPath,Dir,Module,TestGoFiles,XTestGoFiles"}, patterns...)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	var all []testPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p testPackage
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			if len(all) == 0 {
				return nil, fmt.Errorf("no package in %s has tests", strings.Join(patterns, " "))
			}
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("go list: %w", err)
		}
		if len(p.TestGoFiles)+len(p.XTestGoFiles) > 0 {
			all = append(all, p)
		}
	}
}

// fetch downloads all modules that packages and programs need, because tests that build something do
// that without a network.
func fetch(ctx context.Context, o options) error {
	cmd := exec.CommandContext(ctx, "go", "list", "-e", "-deps", "-test", "./...")
	cmd.Dir = o.dir
	if root, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output(); err == nil && o.dir == "" {
		cmd.Dir = filepath.Dir(strings.TrimSpace(string(root)))
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fetching modules: go list -deps: %w\n%s", err, stderr.Bytes())
	}
	return nil
}

// atOnce is how many packages are tested at a time: one more than there are cores, because tests
// also wait for timers and peers.
func atOnce() int { return runtime.NumCPU() + 1 }

// runTests runs the tests of all packages, those with the race detector first. The Go command spreads
// each group over the cores.
func runTests(ctx context.Context, o options, packages []testPackage, tally *Tally) error {
	if o.inside != "" {
		if err := fetch(ctx, o); err != nil {
			return err
		}
	}
	race, without := []string{"-race"}, []string(nil)
	if !raceWorks(ctx) {
		if o.ci {
			return errors.New("the race detector needs a C compiler, and none is installed")
		}
		fmt.Fprintln(o.out, "no C compiler is installed: the tests run without the race detector")
		race = nil
	}
	for _, group := range []struct {
		raced, apart bool
		flags        []string
	}{{raced: true, flags: race}, {flags: without}, {apart: true, flags: without}} {
		args := append([]string{"test", "-json", "-p", strconv.Itoa(atOnce()), "-timeout", o.timeout.String()}, group.flags...)
		if o.ci || o.times > 0 {
			args = append(args, "-count="+strconv.Itoa(max(1, o.times)))
		}
		if o.run != "" {
			args = append(args, "-run", o.run)
		}
		if o.inside != "" && !group.apart { // building an image downloads packages from a mirror
			args = append(args, "-exec", o.inside)
		}
		n := len(args)
		for _, p := range packages {
			if p.runsIn(group.raced, group.apart) {
				args = append(args, p.ImportPath)
			}
		}
		if len(args) == n {
			continue
		}
		if err := goTest(ctx, o, args, tally.Read); err != nil {
			return err
		}
	}
	return nil
}

// raceWorks reports whether `go test -race` can be linked.
func raceWorks(ctx context.Context) bool {
	cc, err := exec.CommandContext(ctx, "go", "env", "CC").Output()
	if err != nil {
		return false
	}
	words := strings.Fields(string(cc))
	if len(words) == 0 {
		return false
	}
	_, err = exec.LookPath(words[0])
	return err == nil
}

// goTest runs the Go command and passes its output to read. Failed tests are not an error, because
// the output reports them; a command that fails without output is.
func goTest(ctx context.Context, o options, args []string, read func(io.Reader) error) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Cancel = func() error { return nil } // a Ctrl-C reaches the whole process group
	cmd.WaitDelay = 30 * time.Second
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // like the programs
	if slices.Contains(args, "-race") {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // the race detector uses C
	}
	cmd.Stderr = o.out
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	counted := &counter{Reader: out}
	readErr := read(counted)
	_, _ = io.Copy(io.Discard, out) // let the command end
	err = cmd.Wait()
	switch {
	case readErr != nil:
		return fmt.Errorf("go %s: %w", args[0], readErr)
	case err != nil && counted.n == 0:
		return fmt.Errorf("go %s: %w", args[0], err)
	}
	return nil
}

// counter counts the bytes that were read through it.
type counter struct {
	io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}
