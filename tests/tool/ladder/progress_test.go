package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Without a terminal there is a line every 20 seconds, from the first on.
func TestProgressInLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out, 3)
		p.compile = func() string { return "compiling net/http" }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { p.report(ctx); close(ended) }()
		time.Sleep(21 * time.Second)
		p.began("edge/spool")
		time.Sleep(5 * time.Second)
		p.began("edge/queue")
		p.compile = func() string { return "" }
		time.Sleep(15 * time.Second)
		fmt.Fprintln(p, "ok  edge/queue")
		p.ended("edge/queue")
		time.Sleep(20 * time.Second)
		cancel()
		<-ended
		want := `progress: 20s, 0 of 3 packages done; compiling net/http
progress: 40s, 0 of 3 packages done; testing edge/spool (19s), edge/queue (14s)
ok  edge/queue
progress: 1m0s, 1 of 3 packages done; testing edge/spool (39s)
`
		if out.String() != want {
			t.Errorf("%s\nwant\n%s", &out, want)
		}
	})
}

// On a terminal one line is written over, and makes way for other output.
func TestProgressOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := newProgress(&out, 12)
		p.width, p.every, p.compile = 50, time.Second, func() string { return "" }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { p.report(ctx); close(ended) }()
		time.Sleep(1500 * time.Millisecond)
		fmt.Fprintln(p, "ok")
		p.began("edge/a/long/name")
		time.Sleep(time.Second)
		cancel()
		<-ended
		const erase = "\r\x1b[K"
		want := "progress: 1s, 0 of 12 packages done" + erase + "ok\n" +
			"progress: 2s, 0 of 12 packages done; testing e..." + erase
		if out.String() != want {
			t.Errorf("%q\nwant\n%q", out.String(), want)
		}
	})
}

// What is compiled is read from the command lines of real processes.
func TestCompiled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	compiler := filepath.Join(t.TempDir(), "compile") // TestMain waits for the end of its input
	if err := os.Symlink(self, compiler); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(compiler, "-o", "x", "-p", "edge/spool")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close(); _ = cmd.Wait() }()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if got := compiled(os.Getpid()); strings.Contains(got, "compiling edge/spool") {
			return
		} else if time.Now().After(end) {
			t.Fatalf("%q", got)
		}
	}
}
