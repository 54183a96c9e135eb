package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// limitBenchmarks are the Go benchmarks that show what a part can do alone, such as the spool without a
// protocol. Each result becomes a row.
var limitBenchmarks = []struct{ pkg, pattern string }{
	{"./edge/spool", "^(BenchmarkCommit10K|BenchmarkCommitRemove)$"},
}

// goLimit is the result of one Go benchmark.
type goLimit struct {
	Name      string  `json:"name"`
	PerSecond float64 `json:"per_second"` // operations, or messages where it reports them
	Further   string  `json:"further"`    // what else it reported
}

// goLimits runs the benchmarks with their temporary files below dir. It prints failures as progress and
// continues.
func goLimits(ctx context.Context, opts options, dir string, progress io.Writer) []goLimit {
	var all []goLimit
	for _, l := range limitBenchmarks {
		if _, err := os.Stat(l.pkg); err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench="+l.pattern,
			"-benchtime="+pick(opts.short, "300ms", "1s"), l.pkg)
		cmd.Env = append(os.Environ(), "TMPDIR="+dir) // on the measured disk
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			fmt.Fprintf(progress, "%s: %v\n%s", l.pkg, err, out)
			continue
		}
		all = append(all, parseGoBench(l.pkg, out)...)
	}
	return all
}

// parseGoBench reads the result lines of "go test -bench".
func parseGoBench(pkg string, out []byte) []goLimit {
	var all []goLimit
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		words := strings.Fields(scan.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		name := strings.TrimPrefix(words[0], "Benchmark")
		if at := strings.LastIndexByte(name, '-'); at > 0 {
			name = name[:at] // the number of processors
		}
		l := goLimit{Name: strings.TrimPrefix(pkg, "./") + ": " + strings.ReplaceAll(name, "_", " ")}
		var further []string
		for i := 2; i+1 < len(words); i += 2 {
			v, err := strconv.ParseFloat(words[i], 64)
			switch {
			case err != nil || v == 0:
			case words[i+1] == "ns/op":
				l.PerSecond = 1e9 / v
			case words[i+1] == "msg/s":
				l.PerSecond = v
			default:
				further = append(further, words[i]+" "+words[i+1])
			}
		}
		l.Further = strings.Join(further, ", ")
		all = append(all, l)
	}
	return all
}
