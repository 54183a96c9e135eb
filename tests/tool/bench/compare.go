package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

// comparison is what the command line says of a comparison of two versions.
type comparison struct {
	old         string   // anymx-edge of the older version; "" means that no comparison is wanted
	oldConfig   string   // template of its config; "" means the one that both versions get
	rows        []string // names of the rows to measure
	pairs       int
	most        float64 // highest bound that is accepted; 0 means any
	printConfig bool    // only print the template
}

// compareRow is one workload on which two versions are compared.
type compareRow struct {
	job
	what string
}

// compareRows lists the workloads: many messages on a connection, one on each of many connections,
// the TLS handshake, and the bytes of a message.
func compareRows() []compareRow {
	return []compareRow{
		{throughput{sessions: 20, each: 20}, "20 sessions, 20 pipelined messages a connection"},
		{throughput{sessions: 100, each: 1}, "100 sessions, 1 message a connection"},
		{throughput{sessions: 50, each: 1, starttls: true}, "50 sessions, STARTTLS, 1 message a connection"},
		{singleLargeJob{}, "1 session, messages of 10 MB one at a time"},
	}
}

// compareRowNames lists the names of the rows, separated by commas.
func compareRowNames() string {
	var names []string
	for _, r := range compareRows() {
		names = append(names, r.name())
	}
	return strings.Join(names, ",")
}

// compareUsage follows the flags in the help text.
const compareUsage = `
Without -old, bench measures anymx and Postfix side by side:
  bin/.bench -short -run '^smtp-20x20$'            a quick look at one job

With -old, bench compares two versions of anymx by the CPU time of a message:
  bin/.bench -old ../before/bin/anymx-edge         fifteen pairs on all rows, about a quarter of an hour
  bin/.bench -old ../before/bin/anymx-edge -pairs 3 -round 1s -rows smtp-20x20 -most 0
                                                   a quick look at one row, which can't fail
  bin/.bench -old ../before/bin/anymx-edge -json - the figures of each round as JSON
`

// compareFlags adds the flags of a comparison. rows gets the names of the rows as they were given.
func compareFlags(fs *flag.FlagSet, c *comparison) (rows *string) {
	fs.StringVar(&c.old, "old", "", "compare with this older anymx-edge `binary`; exit 1 if -anymx needs more CPU than -most allows")
	fs.StringVar(&c.oldConfig, "old-config", "", "with -old: template `file` of the older version's config, if a key had another name (see -print-config)")
	fs.IntVar(&c.pairs, "pairs", 15, "with -old: `number` of pairs, at least 2")
	fs.Float64Var(&c.most, "most", 1.03, "with -old: highest 95% bound of new/old that is accepted; 0 accepts any")
	fs.BoolVar(&c.printConfig, "print-config", false, "print the template of anymx-edge's config and exit")
	return fs.String("rows", compareRowNames(), "with -old: `rows` to measure, separated by commas")
}

// complete checks the flags of a comparison. given are the names of all flags on the command line.
func (c *comparison) complete(rows string, given []string) error {
	only, never := []string{"old-config", "pairs", "most", "rows"}, []string{"systems", "run", "rounds", "short", "out", "image", "list"}
	for _, name := range given {
		switch {
		case c.old == "" && slices.Contains(only, name):
			return fmt.Errorf("-%s: needs -old BINARY", name)
		case c.old != "" && slices.Contains(never, name):
			return fmt.Errorf("-%s: does not work with -old; choose rows with -rows, and their number of rounds with -pairs", name)
		}
	}
	if c.old == "" {
		return nil
	}
	if c.pairs < 2 {
		return fmt.Errorf("-pairs %d: at least 2 pairs are needed for a bound", c.pairs)
	}
	if c.most < 0 {
		return fmt.Errorf("-most %g: a ratio such as 1.03, or 0 to accept any", c.most)
	}
	for name := range strings.SplitSeq(rows, ",") {
		if !slices.ContainsFunc(compareRows(), func(r compareRow) bool { return r.name() == name }) {
			return fmt.Errorf("-rows: unknown row %q; the rows are %s", name, compareRowNames())
		}
		c.rows = append(c.rows, name)
	}
	return nil
}

// compareCommand compares two versions and fails if the newer one needs more CPU than accepted. A
// run that is interrupted prints what its whole pairs have come to.
func compareCommand(ctx context.Context, opts options, stdout, stderr io.Writer) (err error) {
	older, newer := &anymx{binary: opts.compare.old, label: "old"}, &anymx{binary: opts.anymx, label: "new"}
	if opts.compare.oldConfig != "" {
		text, err := os.ReadFile(opts.compare.oldConfig)
		if err != nil {
			return fmt.Errorf("-old-config: %w", err)
		}
		if older.config, err = template.New(filepath.Base(opts.compare.oldConfig)).Parse(string(text)); err != nil {
			return fmt.Errorf("-old-config: %w", err)
		}
	}
	if err := older.check(ctx); err != nil {
		return fmt.Errorf("-old: %w", err)
	}
	if err := newer.check(ctx); err != nil {
		return fmt.Errorf("-anymx: %w", err)
	}
	b := newBench(opts, stderr)
	b.patience = 2 * time.Duration(opts.compare.pairs) * opts.round
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.setUp(); err != nil {
		return err
	}
	rep := newCompareReport(b, older, newer)
	failed := b.comparePairs(ctx, rep, older, newer)
	if rep.summarize(); rep.Pairs >= 2 {
		if err := rep.write(opts.json, stdout); err != nil {
			return errors.Join(failed, err)
		}
	}
	if ctx.Err() != nil {
		failed = errors.New("interrupted")
	}
	if failed != nil {
		return fmt.Errorf("after %d of %d pairs: %w", rep.Pairs, opts.compare.pairs, failed)
	}
	return rep.verdict()
}

// comparePairs measures all pairs. Both versions are restarted for each pair, so that the luck of one
// process (its heap, the order of its maps) is part of the spread that the bound covers. The pairs go
// old, new, new, old and so on, so that a drift of the machine's speed cancels.
func (b *bench) comparePairs(ctx context.Context, rep *compareReport, older, newer system) error {
	removeLeftovers()
	sides := []compareSide{{older, func(r *compareResult) *[]sample { return &r.Old }},
		{newer, func(r *compareResult) *[]sample { return &r.New }}}
	began := time.Now()
	for pair := range b.opts.compare.pairs {
		for _, s := range sides {
			if err := b.stopInstance(s.name()); err != nil {
				return err
			}
		}
		for _, r := range rep.Rows {
			if r.Messages == 0 {
				if err := b.sizeRow(ctx, r, newer); err != nil {
					return fmt.Errorf("%s: %w", r.Row, err)
				}
			}
			for _, s := range sides {
				got, err := b.compareRound(ctx, r, s.system)
				if err != nil {
					return fmt.Errorf("%s, %s version: %w", r.Row, s.name(), err)
				}
				*s.of(r) = append(*s.of(r), got)
			}
			older, newer := r.Old[pair]["cpu"], r.New[pair]["cpu"]
			b.say("pair %d of %d, %s: old %s ms, new %s ms, new/old %.3f",
				pair+1, b.opts.compare.pairs, r.Row, figure(older), figure(newer), newer/older)
		}
		slices.Reverse(sides)
		rep.Pairs = pair + 1
		if left := b.opts.compare.pairs - rep.Pairs; left > 0 {
			b.say("about %v left", (time.Since(began) / time.Duration(rep.Pairs) * time.Duration(left)).Round(time.Second))
		}
	}
	return nil
}

// compareSide is one of the two versions, and where a row keeps its rounds.
type compareSide struct {
	system
	of func(*compareResult) *[]sample
}

// sizeRow sets how many messages a round of the row has, by the speed of the newer version. Both
// versions get the same number.
func (b *bench) sizeRow(ctx context.Context, r *compareResult, newer system) error {
	i, err := b.instance(ctx, newer)
	if err != nil {
		return err
	}
	if r.Messages, err = r.job.calibrate(ctx, b, i); err == nil {
		b.say("%s: %d messages a round", r.Row, r.Messages)
	}
	return err
}

// compareRound measures a row once on one version. A tenth of the messages comes before, unmeasured.
func (b *bench) compareRound(ctx context.Context, r *compareResult, s system) (sample, error) {
	i, err := b.instance(ctx, s)
	if err != nil {
		return nil, err
	}
	if _, err := r.job.measure(ctx, b, i, max(1, r.Messages/10)); err != nil {
		return nil, err
	}
	b.awaitQuiet(ctx)
	got, err := r.job.measure(ctx, b, i, r.Messages)
	if err == nil && got["cpu"] <= 0 {
		err = errors.New("the round was too short to measure its CPU time; choose a longer -round")
	}
	return got, err
}
