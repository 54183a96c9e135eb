package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"
)

func TestCompareFlags(t *testing.T) {
	for args, want := range map[string]string{
		"-pairs 3":                     "-pairs: needs -old BINARY",
		"-rows smtp-20x20":             "-rows: needs -old BINARY",
		"-old x -run smtp":             "-run: does not work with -old",
		"-old x -rounds 4":             "-rounds: does not work with -old",
		"-old x -pairs 1":              "at least 2 pairs",
		"-old x -most -1":              "-most -1: a ratio such as 1.03",
		"-old x -rows smtp-20x20,idle": `unknown row "idle"; the rows are smtp-20x20,smtp-100x1,starttls-50x1,large-1`,
		"-old x":                       "",
		"-old x -rows large-1 -most 0": "",
		"-short -rounds 2":             "",
	} {
		opts, err := parseOptions(strings.Fields(args), io.Discard)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", args, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got error %v, want %q", args, err, want)
		case want == "" && opts.compare.old != "" && len(opts.compare.rows) == 0:
			t.Errorf("%s: no rows are chosen", args)
		}
	}
}

func TestCompareNamesMissingBinaries(t *testing.T) {
	here, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"-old: anymx-edge":   {"-old", "/nonexistent/anymx-edge", "-anymx", here},
		"-anymx: anymx-edge": {"-old", here, "-anymx", "/nonexistent/anymx-edge"},
		"-old-config: open":  {"-old", here, "-anymx", here, "-old-config", "/nonexistent/template"},
	} {
		err := benchCommand(append(args, "-dir", t.TempDir()), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got error %v, want %q", args, err, want)
		}
	}
}

// TestComparePairs compares two servers of which one does far more than the other: go-smtp and the sink.
func TestComparePairs(t *testing.T) {
	opts, err := parseOptions([]string{"-old", "x", "-pairs", "3", "-round", "50ms", "-rows", "smtp-20x20,large-1", "-dir", t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var progress bytes.Buffer
	b := newBench(opts, &progress)
	b.patience = 0
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := b.setUp(); err != nil {
		t.Fatal(err)
	}
	rep := newCompareReport(b, discardSystem{}, sinkSystem{})
	if err := b.comparePairs(t.Context(), rep, discardSystem{}, sinkSystem{}); err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	rep.summarize()
	if rep.Pairs != 3 || len(rep.Rows) != 2 {
		t.Fatalf("%d pairs of %d rows", rep.Pairs, len(rep.Rows))
	}
	for _, row := range rep.Rows {
		if len(row.Old) != 3 || len(row.New) != 3 || len(row.Ratios) != 3 {
			t.Errorf("%s: %d old and %d new rounds, %d ratios", row.Row, len(row.Old), len(row.New), len(row.Ratios))
		}
		if row.Mean >= 1 {
			t.Errorf("%s: the sink should need less CPU than go-smtp, but new/old is %.3f", row.Row, row.Mean)
		}
	}
}

// TestComparePairsAlternate holds the order of the rounds: old, new, new, old, old, new.
func TestComparePairsAlternate(t *testing.T) {
	opts, err := parseOptions([]string{"-old", "x", "-pairs", "3", "-round", "50ms", "-dir", t.TempDir()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(opts, io.Discard)
	b.patience = 0
	defer func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	}()
	if err := b.setUp(); err != nil {
		t.Fatal(err)
	}
	order := &orderJob{}
	rep := &compareReport{Rows: []*compareResult{{Row: "order", job: order}}}
	if err := b.comparePairs(t.Context(), rep, discardSystem{}, sinkSystem{}); err != nil {
		t.Fatal(err)
	}
	want := []string{"discard", "sink", "sink", "discard", "discard", "sink"}
	if !slices.Equal(order.measured, want) {
		t.Errorf("measured %v, want %v", order.measured, want)
	}
	if order.instances != 6 {
		t.Errorf("%d instances were measured, want 6: each pair has fresh ones", order.instances)
	}
}

// orderJob notes on which system each measured round runs.
type orderJob struct {
	throughput
	measured  []string
	instances int
	seen      []*instance
}

func (o *orderJob) calibrate(context.Context, *bench, *instance) (int, error) { return 100, nil }

func (o *orderJob) measure(_ context.Context, _ *bench, i *instance, n int) (sample, error) {
	if !slices.Contains(o.seen, i) {
		o.seen = append(o.seen, i)
		o.instances++
	}
	if n == 100 { // not the tenth before it
		o.measured = append(o.measured, i.system.name())
	}
	return sample{"cpu": 1}, nil
}

// compared returns a report of three pairs with the given CPU of the newer version; that of the older is 1.
func compared(most float64, newer ...float64) *compareReport {
	row := &compareResult{Row: "smtp-20x20", What: "many messages", Messages: 100}
	for _, cpu := range newer {
		row.Old = append(row.Old, sample{"cpu": 1, "foreign": 2})
		row.New = append(row.New, sample{"cpu": cpu, "foreign": 4})
	}
	rep := &compareReport{
		Started: time.Unix(0, 0), Old: description{Title: "anymx 1"}, New: description{Title: "anymx 2"},
		Pairs: len(newer), Most: most, Rows: []*compareResult{row},
	}
	rep.summarize()
	return rep
}

func TestCompareVerdict(t *testing.T) {
	for _, c := range []struct {
		name   string
		rep    *compareReport
		result string
		fails  bool
	}{
		{"below", compared(1.03, 1.02, 1.021, 1.019), "ok", false},
		{"the mean is below, its bound above", compared(1.03, 1.02, 1.05, 0.99), "above", true},
		{"faster", compared(1.03, 0.8, 0.81, 0.8), "ok", false},
		{"only printed", compared(0, 2, 2.1, 2), "-", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.rep.result(c.rep.Rows[0]); got != c.result {
				t.Errorf("result is %q, want %q", got, c.result)
			}
			err := c.rep.verdict()
			if (err != nil) != c.fails {
				t.Errorf("verdict is %v", err)
			}
			if c.fails && !strings.Contains(err.Error(), "above 1.03: smtp-20x20 1.0") {
				t.Errorf("verdict %q does not name row and bound", err)
			}
		})
	}
}

func TestCompareTable(t *testing.T) {
	rep := compared(1.03, 1.02, 1.021, 1.019)
	var out bytes.Buffer
	file := filepath.Join(t.TempDir(), "figures.json")
	if err := rep.write(file, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"old: anymx 1\nnew: anymx 2\n", "median of 3 pairs",
		"smtp-20x20  1.00  1.02  1.020   1.020  1.022  ok      many messages\n",
		"smtp-20x20  1.020 1.021 1.019\n", "Other programs took 3% of the machine in the median round, at most 4%.\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var onlyJSON bytes.Buffer
	if err := rep.write("-", &onlyJSON); err != nil {
		t.Fatal(err)
	}
	if onlyJSON.String() != string(text) {
		t.Errorf("-json - prints\n%s\nand the file has\n%s", onlyJSON.String(), text)
	}
	var read compareReport
	if err := json.Unmarshal(text, &read); err != nil {
		t.Fatal(err)
	}
	if row := read.Rows[0]; row.Bound != rep.Rows[0].Bound || len(row.Ratios) != 3 || row.New[1]["cpu"] != 1.021 {
		t.Errorf("JSON has %+v", row)
	}
}

// TestPrintedConfigIsTheDefault holds that what -print-config prints is what -old-config takes.
func TestPrintedConfigIsTheDefault(t *testing.T) {
	var out bytes.Buffer
	if err := benchCommand([]string{"-print-config"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	var printed, used bytes.Buffer
	values := configValues{Domain: "example.net", State: `/tmp/a "quoted" folder`, Listen: "127.0.0.1:8025"}
	if err := template.Must(template.New("").Parse(out.String())).Execute(&printed, values); err != nil {
		t.Fatal(err)
	}
	if err := defaultConfig.Execute(&used, values); err != nil {
		t.Fatal(err)
	}
	if printed.String() != used.String() {
		t.Errorf("printed\n%s\nused\n%s", printed.String(), used.String())
	}
	if !strings.Contains(used.String(), `state_dir = "/tmp/a \"quoted\" folder"`) {
		t.Errorf("a path is not quoted:\n%s", used.String())
	}
}
