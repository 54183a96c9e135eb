package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"anymx/tests/lab"
)

// shieldJob is what -run matches for the job that floods a PoP with and without
// its shield. It has a section of its own in the document.
const shieldJob = "shield"

const (
	shieldBegin = "<!-- shield: begin, written by make bench -->"
	shieldEnd   = "<!-- shield: end -->"
)

// shieldReport is what the job has found.
type shieldReport struct {
	started, ended time.Time
	machine        []string
	verdicts       []packetCost
	syn            synCost
	sieges         []siege
}

// packetCost is the cost of one packet by verdict and IP version.
type packetCost struct {
	name      string  // "valid ACK, ipv4"
	ns, floor float64 // floor: ns as a multiple of a program that drops every packet
}

// synCost is the CPU time of a flooded SYN in ns, without sending it.
type synCost struct{ shield, kernel, ratio float64 }

// siege is one row: a flood and the protection against it.
type siege struct {
	name, against string
	flood         lab.Flood
	shield        bool
	noCookies     bool // the kernel makes no cookies either
	reach         bool // it has targets
	rounds        []lab.Besieged
}

// sieges are the rows, those with the shield first.
var sieges = []siege{
	{name: "none", against: "shield", shield: true, reach: true},
	{name: "none; the generator floods a link that leads nowhere", against: "shield", shield: true, flood: lab.Flood{Flags: lab.SYN, Void: true}},
	{name: "SYN, 200,000/s", against: "shield", shield: true, reach: true, flood: lab.Flood{Flags: lab.SYN, Rate: 200_000}},
	{name: "SYN, unlimited", against: "shield", shield: true, reach: true, flood: lab.Flood{Flags: lab.SYN}},
	{name: "ACK, 200,000/s", against: "shield", shield: true, reach: true, flood: lab.Flood{Flags: lab.ACK, Rate: 200_000}},
	{name: "ACK, unlimited", against: "shield", shield: true, reach: true, flood: lab.Flood{Flags: lab.ACK}},
	{name: "none", against: "kernel"},
	{name: "SYN, 200,000/s", against: "kernel", flood: lab.Flood{Flags: lab.SYN, Rate: 200_000}},
	{name: "SYN, unlimited", against: "kernel", flood: lab.Flood{Flags: lab.SYN}},
	{name: "ACK, 200,000/s", against: "kernel", flood: lab.Flood{Flags: lab.ACK, Rate: 200_000}},
	{name: "ACK, unlimited", against: "kernel", flood: lab.Flood{Flags: lab.ACK}},
	{name: "SYN, 200,000/s", against: "nothing", noCookies: true, flood: lab.Flood{Flags: lab.SYN, Rate: 200_000}},
	{name: "SYN, unlimited", against: "nothing", noCookies: true, flood: lab.Flood{Flags: lab.SYN}},
}

// runShield measures single packets, then brings up the lab and floods PoP a. It removes the lab at the
// end.
func runShield(ctx context.Context, opts options, progress io.Writer) (text string, err error) {
	if os.Geteuid() != 0 {
		return "", errors.New("needs root for network namespaces")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU())) // clients must not wait for the generator
	dir, err := filepath.Abs(opts.dir)
	if err != nil {
		return "", err
	}
	r := &shieldReport{started: time.Now(), machine: describeMachine(dir)}
	if err := r.packets(ctx, opts); err != nil {
		return "", err
	}
	fmt.Fprintf(progress, "shield: %d costs of a packet\n", len(r.verdicts))
	l, err := lab.Up(ctx, lab.Options{Bin: filepath.Dir(opts.anymx)})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Down(context.WithoutCancel(ctx))) }()
	if err := l.A.Start(ctx); err != nil {
		return "", err
	}
	if err := l.A.Strangers(ctx, true); err != nil {
		return "", err
	}
	r.sieges = slices.Clone(sieges)
	for range opts.rounds {
		for i := range r.sieges {
			s := &r.sieges[i]
			got, err := s.measure(ctx, l)
			if err != nil {
				return "", fmt.Errorf("flood %s against %s: %w", s.name, s.against, err)
			}
			fmt.Fprintf(progress, "shield: flood %s against %s: %v\n", s.name, s.against, got)
			s.rounds = append(s.rounds, got)
		}
	}
	r.ended = time.Now()
	return r.markdown(), nil
}

// measure configures PoP a for the row and floods it once it is announced.
func (s *siege) measure(ctx context.Context, l *lab.Lab) (lab.Besieged, error) {
	change := l.A.Unshield
	if s.shield {
		change = func(ctx context.Context) error { return l.A.Shield(ctx, "") }
	}
	if err := errors.Join(change(ctx), l.A.KernelCookies(!s.noCookies)); err != nil {
		return lab.Besieged{}, err
	}
	if err := ownWay.back(ctx, l); err != nil {
		return lab.Besieged{}, err
	}
	got, err := l.Besiege(ctx, lab.Siege{Flood: s.flood, Calls: 200, Took: 4 * time.Second})
	if err != nil || !s.noCookies {
		return got, err
	}
	l.A.Program(lab.Edge).Kill() // and its queues of connections
	return got, errors.Join(l.A.KernelCookies(true), l.A.Start(ctx))
}

// packets runs the shield's own benchmarks.
func (r *shieldReport) packets(ctx context.Context, opts options) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-run=^$", "-bench=^(BenchmarkVerdict|BenchmarkFloodedSYN)$",
		"-benchtime="+pick(opts.short, "200ms", "1s"), "./xdp")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("benchmarks of the shield: %w:\n%s", err, out)
	}
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		words := strings.Fields(scan.Text())
		if len(words) < 4 || !strings.HasPrefix(words[0], "Benchmark") {
			continue
		}
		values := make(map[string]float64)
		for i := 2; i+1 < len(words); i += 2 {
			if v, err := strconv.ParseFloat(words[i], 64); err == nil {
				values[words[i+1]] = v
			}
		}
		if v := values["shield-ns/SYN"]; v > 0 {
			r.syn = synCost{shield: v, kernel: values["stack-ns/SYN"], ratio: values["x-cheaper"]}
		}
		if v := values["ns/packet"]; v > 0 {
			name, _, _ := strings.Cut(strings.TrimPrefix(words[0], "BenchmarkVerdict/"), "-") // the number of processors
			name = strings.ReplaceAll(strings.ReplaceAll(name, "_", " "), "/", ", ")
			r.verdicts = append(r.verdicts, packetCost{name: name, ns: v, floor: values["x-floor"]})
		}
	}
	if len(r.verdicts) == 0 || r.syn.shield == 0 {
		return fmt.Errorf("benchmarks of the shield: no figures in\n%s", out)
	}
	return nil
}

// mostTimes are the targets: the highest multiple of the floor.
var mostTimes = []struct {
	prefix string
	times  float64
}{
	{"other traffic,", 3}, {"malformed,", 4}, {"unserved,", 4}, {"blocked,", 4}, {"SYN answered,", 35}, {"SYN of Linux answered,", 35},
	{"valid ACK,", 18}, {"bogus ACK,", 12},
}

// markdown is the section of the document.
func (r *shieldReport) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured %s in %s.\n\n", r.started.UTC().Format("2006-01-02 15:04 MST"), r.ended.Sub(r.started).Round(time.Second))
	for _, line := range r.machine {
		fmt.Fprintf(&out, "- %s\n", line)
	}
	r.markdownPackets(&out)
	r.markdownSieges(&out)
	return out.String()
}

func (r *shieldReport) markdownPackets(out *strings.Builder) {
	fmt.Fprint(out, "- ns for each packet by BPF_PROG_TEST_RUN, in CPU time of the thread; the floor is a program that drops every packet, measured in the same moment\n"+
		"\n| packet | ns | of which above the floor | times the floor | to reach | reached |\n|---|---:|---:|---:|---|---|\n")
	for _, v := range r.verdicts {
		reach, reached := "", ""
		for _, most := range mostTimes {
			if strings.HasPrefix(v.name, most.prefix) {
				reach, reached = fmt.Sprintf("≤ %gx", most.times), pick(v.floor <= most.times, "yes", "no")
			}
		}
		fmt.Fprintf(out, "| %s | %s | %s | %.1fx | %s | %s |\n", v.name, figure(v.ns), figure(v.ns-v.ns/v.floor), v.floor, reach, reached)
	}
	fmt.Fprintf(out, "\n| CPU of a flooded SYN over a veth, without sending it, ns | the kernel's cookies | shield | ratio | to reach | reached |\n|---|---:|---:|---|---|---|\n"+
		"| answered | %s | %s | %s | 1/5 | %s |\n", figure(r.syn.kernel), figure(r.syn.shield), ratioText(1/r.syn.ratio, false), pick(r.syn.ratio >= 5, "yes", "no"))
}

func (r *shieldReport) markdownSieges(out *strings.Builder) {
	fmt.Fprintf(out, "\nFloods of PoP a in the lab (see drain.md) from forged random sources, alternately IPv4 and IPv6, while %d real clients that the shield does not know "+
		"connect through the router. Generator, router, clients and node share the machine's cores. The generator is one thread, and the link loses nothing: "+
		"a full ring slows the generator down. *kernel* means its own cookies (`tcp_syncookies=1`), *nothing* means `tcp_syncookies=0`. A client is greeted if it "+
		"gets PoP a's banner within a second of its connect. p50 and p99 are connect to banner, with a second for clients that got none. To reach: 99.5%% "+
		"greeted and p99 < 50 ms. Median of %d rounds, with the lowest and the highest in brackets.\n", r.sieges[0].rounds[0].Called.Calls, len(r.sieges[0].rounds))
	fmt.Fprint(out, "\n| flood | against it | packets/s | greeted, % | p50, ms | p99, ms | resets sent, for each 1000 packets | reached |\n|---|---|---:|---:|---:|---:|---:|---|\n")
	for _, s := range r.sieges {
		var all result
		for _, b := range s.rounds {
			one := sample{
				"greeted": 100 * b.Called.Share("mx-a.example.net"),
				"p50":     b.Called.Percentile(0.5).Seconds() * 1000, "p99": b.Called.Percentile(0.99).Seconds() * 1000,
			}
			if b.Flooded.Packets > 0 {
				one["rate"], one["resets"] = b.Flooded.Rate(), 1000*float64(b.Returned.Resets)/float64(b.Flooded.Packets)
			}
			all.Rounds = append(all.Rounds, one)
		}
		reached := ""
		if s.reach {
			greeted, _ := all.middle("greeted")
			p99, _ := all.middle("p99")
			reached = pick(greeted.median >= 99.5 && p99.median < 50, "yes", "no")
		}
		fmt.Fprintf(out, "| %s | %s |", s.name, s.against)
		for _, metric := range []string{"rate", "greeted", "p50", "p99", "resets"} {
			fmt.Fprintf(out, " %s |", all.cell(metric))
		}
		fmt.Fprintf(out, " %s |\n", reached)
	}
}
