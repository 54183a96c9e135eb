package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMarkdownComparesMedians(t *testing.T) {
	r := &report{
		Started: time.Unix(0, 0), Rounds: 3,
		Systems: []systemReport{{"postfix", description{"Postfix 3", "s"}}, {"anymx", description{"anymx (x)", "s"}}},
		Results: []*result{
			{Job: "j", System: "postfix", Rounds: []sample{{"rate": 500, "cpu": 2, "p50": 3}, {"rate": 700, "cpu": 2, "p50": 3}, {"rate": 600, "cpu": 2, "p50": 3}}},
			{Job: "j", System: "anymx", Rounds: []sample{{"rate": 9000, "cpu": 0.2, "p50": 1, "p99": 2.5}}},
			{Job: "k", System: "postfix", Rounds: []sample{{"rate": 5}}},
			{Job: "k", System: "anymx", Failure: "452 4.3.1\nfull"},
		},
		rows: []row{
			{section: "A", label: "fast", job: "j", metric: "rate", higher: true, target: ratioAtLeast(15)},
			{section: "A", label: "too fast", job: "j", metric: "rate", higher: true, target: ratioAtLeast(15.1)},
			{section: "B", label: "cheap", job: "j", metric: "cpu", target: ratioAtMost(12)},
			{section: "B", label: "small", job: "j", metric: "cpu", target: atMost(0.2)},
			{section: "B", label: "late", job: "j", metric: "p99", target: belowOther("p50")},
			{section: "A", label: "broken", job: "k", metric: "rate", higher: true, target: ratioAtLeast(2)},
		},
	}
	got := r.markdown()
	for _, want := range []string{
		"| | Postfix 3 | anymx | ratio |",
		"| fast | 600 (500-700) | 9000 | 15.0x | 15x | yes |",
		"| too fast | 600 (500-700) | 9000 | 15.0x | 15.1x | no |",
		"| cheap | 2.00 (2.00-2.00) | 0.200 | 1/10.0 | 1/12 | no |",
		"| small | 2.00 (2.00-2.00) | 0.200 | 1/10.0 | ≤ 0.2 | yes |",
		"| late | - | 2.50 |  | < its p50 | yes |",
		"| broken | 5.00 | failed |  | 2x |  |",
		"- k, anymx: 452 4.3.1 full",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Count(got, "### A") != 1 {
		t.Errorf("section A does not stand once:\n%s", got)
	}
}

func TestReplaceSectionKeepsProse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "benchmarks.md")
	if err := replaceSection(file, beginMark, endMark, "first\n"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	prose := strings.Replace(string(text), "# Benchmarks\n", "# Benchmarks\n\nBefore.\n", 1) + "\nAfter.\n"
	if err := os.WriteFile(file, []byte(prose), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceSection(file, beginMark, endMark, "second\n"); err != nil {
		t.Fatal(err)
	}
	text, err = os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "# Benchmarks\n\nBefore.\n\n" + beginMark + "\n\nsecond\n\n" + endMark + "\n\nAfter.\n"
	if string(text) != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if err := os.WriteFile(file, []byte("x\n"+beginMark+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := replaceSection(file, beginMark, endMark, "third\n"); err == nil {
		t.Error("a document with one mark only was changed")
	}
}

func TestMiddle(t *testing.T) {
	for _, c := range []struct {
		rounds []sample
		want   middle
		ok     bool
	}{
		{nil, middle{}, false},
		{[]sample{{"b": 1}}, middle{}, false},
		{[]sample{{"a": 3}}, middle{3, 3, 3, 1}, true},
		{[]sample{{"a": 9}, {"a": 1}, {"a": 2}}, middle{2, 1, 9, 3}, true},
		{[]sample{{"a": 4}, {"a": 1}}, middle{2.5, 1, 4, 2}, true},
	} {
		got, ok := (&result{Rounds: c.rounds}).middle("a")
		if got != c.want || ok != c.ok {
			t.Errorf("%v: got %+v %v, want %+v %v", c.rounds, got, ok, c.want, c.ok)
		}
	}
}

func TestParseGoBench(t *testing.T) {
	got := parseGoBench("./edge/spool", []byte(`goos: linux
BenchmarkCommit/128_writers-2   	  200000	     10000 ns/op	        80.5 cpu-us/op
BenchmarkCommit10K/20-2         	  200000	     54321 msg/s	        12 B/op
PASS
`))
	want := []goLimit{
		{Name: "edge/spool: Commit/128 writers", PerSecond: 100000, Further: "80.5 cpu-us/op"},
		{Name: "edge/spool: Commit10K/20", PerSecond: 54321, Further: "12 B/op"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
