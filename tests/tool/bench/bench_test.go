package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWholeRun runs the benchmark with real processes: the generator, the sink and go-smtp.
func TestWholeRun(t *testing.T) {
	dir := t.TempDir()
	doc, figures := filepath.Join(dir, "doc.md"), filepath.Join(dir, "figures.json")
	var out, progress bytes.Buffer
	err := benchCommand([]string{
		"-systems", "discard", "-run", "^(smtp-20x20|idle)$", "-short", "-round", "100ms", "-dir", filepath.Join(dir, "spools"),
		"-out", doc, "-json", figures,
	}, &out, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	text, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("| 20 sessions, 20 a connection |")) {
		t.Errorf("document without its row:\n%s", text)
	}
	text, err = os.ReadFile(figures)
	if err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(text, &rep); err != nil {
		t.Fatal(err)
	}
	for job, metrics := range map[string][]string{"smtp-20x20": {"rate", "cpu"}, "idle": {"process", "kernel", "base"}} {
		res := rep.result(job, "discard")
		if res == nil || res.Failure != "" || len(res.Rounds) != 1 {
			t.Fatalf("%s: %+v\n%s", job, res, progress.String())
		}
		for _, metric := range metrics {
			if res.Rounds[0][metric] <= 0 {
				t.Errorf("%s: %s is %v", job, metric, res.Rounds[0][metric])
			}
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "spools"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// TestPostfixRelays sends through a private Postfix to the sink.
func TestPostfixRelays(t *testing.T) {
	f := &postfix{}
	if err := f.check(t.Context()); err != nil {
		t.Skipf("needs Postfix: %v", err)
	}
	b := &bench{
		opts: options{dir: t.TempDir(), pipeline: true}, progress: t.Output(), started: time.Now(), next: 1,
		running: map[string]*instance{}, messages: map[int]*message{}, secure: clientTLS(),
	}
	// Postfix's daemons run as another user and need access to their folder.
	if err := os.Chmod(filepath.Dir(b.opts.dir), 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := b.setUp(); err != nil {
		t.Fatal(err)
	}
	i, err := b.instance(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	l := load{
		address: i.place.address, message: testMessage(t, smallSize), messages: 30, sessions: 3, perConnection: 10,
		pipeline: true, limit: 20 * time.Second,
	}
	for _, starttls := range []bool{false, true} {
		if starttls {
			l.secure = b.secure
		}
		got, err := b.relay(ctx, i, l)
		if err != nil {
			t.Fatal(err)
		}
		if got["rate"] <= 0 || got["cpu"] <= 0.05 {
			t.Errorf("impossible figures %v", got)
		}
	}
}
