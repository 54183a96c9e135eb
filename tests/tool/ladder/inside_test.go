package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain is the ladder where `go test -exec` has it run a test binary, and a compiler
// where it is called so.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "compile" {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == insideFlag {
		code, err := runInside(os.Args[2:], os.Stdout)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// A test that dials an address outside of the machine fails its package, and nothing of
// it leaves the namespace; one that stays on loopback is as good as ever.
func TestClimbInside(t *testing.T) {
	if err := namespaceWorks(); err != nil {
		t.Skip("needs a network namespace:", err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	good, err := climb(t.Context(), options{
		dir: tree(t), patterns: []string{"./dials", "./good"}, timeout: time.Minute, out: &out, inside: strconv.Quote(self) + " " + insideFlag,
	})
	if err != nil || good {
		t.Errorf("good %v, error %v; want false, none", good, err)
	}
	compare(t, out.String(), []string{
		"failed: tree/dials (no test of its own failed)", "ok  \ttree/good", "5 passed, 1 failed, 2 skipped\n",
		" attempts to reach an address outside of this machine",
	}, nil)
}

func TestNoRoutes(t *testing.T) {
	const v4 = "Ip: Forwarding DefaultTTL OutNoRoutes ReasmTimeout\nIp: 1 64 7 2\nIcmp: InMsgs\nIcmp: 3\n"
	if n := noRoutes4(v4); n != 7 {
		t.Errorf("IPv4: %d", n)
	}
	const v6 = "Ip6InReceives                   \t12\nIp6OutNoRoutes                  \t5\n"
	if n := noRoutes6(v6); n != 5 {
		t.Errorf("IPv6: %d", n)
	}
	if n := noRoutes4("") + noRoutes6(""); n != 0 {
		t.Errorf("of nothing: %d", n)
	}
}

// The last line is the counts alone: programs read it.
func TestSummaryEndsWithTheCounts(t *testing.T) {
	var out bytes.Buffer
	tally := NewTally(&out)
	tally.Fuzzed("p", "FuzzX", true)
	tally.Summary(false, nil, 90*time.Second)
	if !strings.HasSuffix(out.String(), "\n1 passed, 0 failed, 0 skipped\n") || !strings.Contains(out.String(), "took 1m30s\n") {
		t.Errorf("%s", &out)
	}
}
