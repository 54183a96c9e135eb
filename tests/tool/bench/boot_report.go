package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"anymx/tests/vm"
)

// bootRow is one line of a table: a metric of both machines.
type bootRow struct {
	label, metric string
	unit          float64 // what the metric is divided by
	reach         string
	// reached reports whether the appliance's median is good enough; nil means that there is no target.
	reached func(own, plain float64) bool
}

const (
	mega       = 1e6
	sizeReach  = 160 // MB
	memReach   = 200 // MB
	notSlower  = "not slower"
	bootColumn = "| | anymx | plain Debian | ratio | to reach | reached |\n|---|---:|---:|---|---|---|\n"
)

func within(limit float64) func(own, plain float64) bool {
	return func(own, _ float64) bool { return own <= limit }
}

func asFast(own, plain float64) bool { return plain > 0 && own <= plain }

var sizeRows = []bootRow{
	{label: "image, as stored (without its holes)", metric: "raw", unit: mega},
	{label: "image, `.zst`", metric: "zst", unit: mega, reach: fmt.Sprintf("≤ %d", sizeReach), reached: within(sizeReach)},
	{label: "update bundle", metric: "update", unit: mega},
	{label: "root file system", metric: "root", unit: mega},
	{label: "kernel with its initrd (UKI)", metric: "uki", unit: mega},
}

// timeRows returns the rows of one boot, "first" or "later", in the order in which they are reached.
func timeRows(boot string) []bootRow {
	row := func(label, metric string) bootRow {
		return bootRow{label: label, metric: boot + "_" + metric, unit: 1}
	}
	must := func(r bootRow) bootRow {
		r.reach, r.reached = notSlower, asFast
		return r
	}
	return []bootRow{
		row("firmware", vm.Firmware), row("kernel", vm.Kernel), row("initrd", vm.Initrd), row("root", vm.Root), row("config in place", configPlaced),
		must(row("first SMTP banner", greeted)), must(row("route in the router's kernel", routed)), row("CPU time of QEMU until the banner", "cpu"),
	}
}

var memoryRows = []bootRow{
	{label: "memory used", metric: "memory", unit: mega, reach: fmt.Sprintf("≤ %d", memReach), reached: within(memReach)},
}

// markdown is the section of the document.
func (r *bootReport) markdown() string {
	var out strings.Builder
	fmt.Fprintf(&out, "Measured %s in %s, in the lab (see drain.md): QEMU in the place of PoP a, BIRD as the router.\n\n",
		r.started.UTC().Format("2006-01-02 15:04 MST"), r.ended.Sub(r.started).Round(time.Second))
	for _, line := range r.machine {
		fmt.Fprintf(&out, "- %s\n", line)
	}
	fmt.Fprintf(&out, "- QEMU with %s, %d CPUs, %d MiB, UEFI (OVMF), virtio disk and network card, for both the same\n", r.accelerator(), bootCPUs, bootMemory)
	fmt.Fprint(&out, "- plain Debian is 13 with its cloud kernel, systemd-boot, a writable ext4 root, systemd-networkd, OpenSSH, unattended-upgrades, Postfix on port 25 and BIRD\n"+
		"  with the same sessions and prefixes (`image/plain`); it has no tunnel, no spool of its own and nothing that checks its root or its config\n")
	fmt.Fprint(&out, "- anymx announces once its mail program has taken a message through each listener and the spool, and has answered three checks, 0.4 s apart; Debian's BIRD\n"+
		"  does not check its Postfix. `bgp.health.rise_time` (10 s by default), which delays the announcement on purpose, is 0 here\n")
	fmt.Fprint(&out, "\n| MB (10⁶ bytes) "+strings.TrimPrefix(bootColumn, "| "))
	r.table(&out, sizeRows, func(s *bootSystem) result { return result{Rounds: []sample{s.sizes}} })
	for _, boot := range []struct{ name, title string }{
		{"first", "First boot after flashing (partitions are made)"}, {"later", "A later boot"},
	} {
		fmt.Fprintf(&out, "\n%s, seconds from power-on, median of %d with the lowest and the highest in brackets:\n\n%s", boot.title, r.rounds(), bootColumn)
		r.table(&out, timeRows(boot.name), boots)
	}
	fmt.Fprintf(&out, "\nMemTotal less MemAvailable, MB, %.0f s after the banner of a later boot, reported by the guest (virtio-balloon):\n\n%s", settleTime.Seconds(), bootColumn)
	r.table(&out, memoryRows, boots)
	return out.String()
}

func boots(s *bootSystem) result { return s.boots }

func (r *bootReport) rounds() int { return len(r.systems[0].boots.Rounds) }

// accelerator describes what ran the guests' instructions.
func (r *bootReport) accelerator() string {
	if r.accel.Accel == vm.KVM {
		return "KVM"
	}
	why := strings.Join(strings.Fields(r.accel.Why), " ")
	if _, said, ok := strings.Cut(why, "error: "); ok { // QEMU's own message among its last lines
		why, _, _ = strings.Cut(said, ";")
	}
	return "TCG, which translates every instruction (KVM: " + why + ")"
}

// table writes rows; of returns a machine's figures.
func (r *bootReport) table(out *strings.Builder, rows []bootRow, of func(*bootSystem) result) {
	for _, row := range rows {
		fmt.Fprintf(out, "| %s |", row.label)
		var medians []float64
		for _, s := range r.systems {
			figures := of(s).scaled(row.metric, row.unit)
			m, ok := figures.middle(row.metric)
			if ok {
				medians = append(medians, m.median)
			}
			fmt.Fprintf(out, " %s |", figures.cell(row.metric))
		}
		ratio, reached := "", ""
		if len(medians) == 2 && medians[1] > 0 {
			ratio = ratioText(medians[0]/medians[1], false)
		}
		if row.reached != nil && len(medians) > 0 {
			reached = pick(row.reached(medians[0], slices.Concat(medians, []float64{0})[1]), "yes", "no")
		}
		fmt.Fprintf(out, " %s | %s | %s |\n", ratio, row.reach, reached)
	}
}

// scaled returns the rounds with one metric in another unit.
func (r result) scaled(metric string, unit float64) *result {
	scaled := result{}
	for _, s := range r.Rounds {
		if v, ok := s[metric]; ok {
			scaled.Rounds = append(scaled.Rounds, sample{metric: v / unit})
		}
	}
	return &scaled
}
