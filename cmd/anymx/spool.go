package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
	"anymx/edge/spool"
	"anymx/edge/spool/salvage"
)

const spoolHelp = `Spool looks at the store of accepted messages and gets them out of a damaged one.
Nothing here deletes a message.

A node does not open a spool that lacks something that was acknowledged: it is not
ready, announces nothing, and 'anymx status' says why. The way out:

  anymx spool check               what is there, and what is wrong
  anymx spool set-aside           move it away; the node starts with an empty one
  anymx spool export              write the messages of what was set aside as files

A spool that works may hold body files of acknowledged messages without an
envelope. The node stays not ready until set-aside has moved them away, too.

Check, set-aside and an export without TO ask the node. If none answers, or --dir is
given, check and set-aside work on the folder itself, as an export to TO always does;
no node may have it open then.`

// spooling is one run of a command on a spool.
type spooling struct {
	*program
	dir    string
	yes    bool
	dryRun bool
}

func (p *program) spoolCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "spool", Short: "Check the spool, export it, set a damaged one aside", Long: spoolHelp,
		Args: unknownCommand,
		RunE: p.local(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
	}
	cmd.AddCommand(p.spoolCheckCommand(), p.spoolExportCommand(), p.spoolAsideCommand())
	return cmd
}

func (s *spooling) addDir(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.dir, "dir", "", "the spool's `FOLDER` (default: spool in node.state_dir of the config)")
}

func (p *program) spoolCheckCommand() *cobra.Command {
	s := &spooling{program: p}
	cmd := &cobra.Command{
		Use: "check", Short: "Say what is in the spool, and whether it is sound",
		Long: `Check counts messages, body files and orphans, which are body files without an
envelope, and names what is damaged. It changes nothing. Of a spool that no node
has open it also reads each record of the engine's log.

Exit codes:
  0  sound
  1  damaged, or acknowledged messages are lost; or it could not be looked at
  2  wrong usage`,
		Example: "  anymx spool check\n  anymx spool check --dir /var/lib/anymx/spool-aside/20260314T092653Z\n  anymx spool check --json | jq .problems",
		Args:    noArgs,
	}
	s.addDir(cmd)
	cmd.RunE = p.local(func(cmd *cobra.Command, _ []string) error { return s.check(cmd.Context()) })
	return cmd
}

// asking returns the answer of the node, or that of the folder if the node does not answer.
func asking[T any](s *spooling, ask func(*control.Client) (T, error), offline func(dir string) (T, error)) (answer T, err error) {
	var nobody *control.Unreachable
	if s.dir == "" {
		c, err := s.client()
		if err != nil {
			return answer, err
		}
		defer c.Close()
		if answer, err = ask(c); !errors.As(err, &nobody) {
			return answer, err
		}
	}
	dir, err := s.folder()
	if err != nil {
		return answer, errors.Join(err, orNil(nobody))
	}
	return offline(dir)
}

// orNil returns err without a typed nil.
func orNil(err *control.Unreachable) error {
	if err == nil {
		return nil
	}
	return err
}

// folder returns the folder of the spool.
func (s *spooling) folder() (string, error) {
	if s.dir != "" {
		return s.dir, nil
	}
	c, err := config.Load(s.config, "core")
	if err != nil {
		return "", fmt.Errorf("%w; --dir names the spool without a config", err)
	}
	return filepath.Join(c.Node.StateDir, "spool"), nil
}

func (s *spooling) check(ctx context.Context) error {
	r, err := asking(s, func(c *control.Client) (api.SpoolReport, error) { return c.Spool(ctx) }, salvage.Check)
	if err != nil {
		return err
	}
	if err := s.print(r, func(w io.Writer) error { return words.WriteSpoolReport(w, &r) }); err != nil || r.Sound() {
		return err
	}
	return &answered{exitNo}
}

func (p *program) spoolAsideCommand() *cobra.Command {
	s := &spooling{program: p}
	cmd := &cobra.Command{
		Use: "set-aside", Short: "Move a damaged spool away, or orphans, so that the node can go on",
		Long: `Set-aside moves a spool that the node does not open to a folder beside it,
spool-aside/TIME, and the node starts with an empty one. Of a spool that the node has
open it moves the orphans alone. Nothing is deleted, neither now nor later: remove the
folder when you have exported it. It asks before, unless --yes is given.`,
		Example: "  anymx spool set-aside\n  anymx spool set-aside --dry-run\n  anymx spool set-aside --yes --json",
		Args:    noArgs,
	}
	s.addDir(cmd)
	cmd.Flags().BoolVar(&s.yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "only say what would be moved")
	cmd.RunE = p.local(func(cmd *cobra.Command, _ []string) error { return s.setAside(cmd.Context()) })
	return cmd
}

func (s *spooling) setAside(ctx context.Context) error {
	r, err := asking(s, func(c *control.Client) (api.SpoolReport, error) { return c.Spool(ctx) }, salvage.Check)
	if err != nil {
		return err
	}
	what := asideText(&r)
	if s.dryRun {
		return s.print(r, func(w io.Writer) error { _, err := fmt.Fprintf(w, "would move %s\n", what); return err })
	}
	if !s.yes {
		if err := s.askYes(ctx, "Move "+what+" away? Type yes to continue: "); err != nil {
			return err
		}
	}
	a, err := asking(s, func(c *control.Client) (api.SpoolAside, error) { return c.SetSpoolAside(ctx) },
		func(dir string) (api.SpoolAside, error) {
			to, err := spool.SetAside(dir, s.now())
			return api.SpoolAside{To: to}, err
		})
	if err != nil {
		return err
	}
	return s.print(a, func(w io.Writer) error {
		if a.To == "" {
			_, err := fmt.Fprintln(w, "nothing was there to be moved")
			return err
		}
		_, err := fmt.Fprintf(w, "moved to %s\n`anymx spool export` writes its messages as files.\n", words.Clean(a.To))
		return err
	})
}

// asideText says what set-aside moves.
func asideText(r *api.SpoolReport) string {
	if r.Open {
		return fmt.Sprintf("%d orphaned body files (%d of them acknowledged), %d bytes,", r.Orphans, r.Lost, r.OrphanBytes)
	}
	return fmt.Sprintf("the whole spool %s (%d readable messages, %d body files with %d bytes)", words.Clean(r.Dir), r.Messages, r.BodyFiles, r.BodyBytes)
}

func (p *program) spoolExportCommand() *cobra.Command {
	s := &spooling{program: p}
	var quiet bool
	cmd := &cobra.Command{
		Use: "export [TO]", Short: "Write all readable messages of a spool as files",
		Long: `Without TO the node exports all that was set aside and not exported before, and a spool
that it does not open, to folders in spool-export beside its spool. It goes on if this
command is stopped.

Export writes, for each message that can be read, TO/ID.eml and TO/ID.json: the
envelope, how far its delivery had come, and what is wrong with it. It reads the tables of the
engine, each record of its logs before and after damage, and all body files, those
without an envelope too. It overwrites nothing, and the files are for their owner
alone. No node may have the spool open.

Exit codes:
  0  all is exported
  1  something could not be read whole, and the rest is exported; or it failed
  2  wrong usage`,
		Example: "  anymx spool export\n  anymx spool export --dir /var/lib/anymx/spool-aside/20260314T092653Z /mnt/mail\n  anymx spool export --dry-run --dir /mnt/anymx/spool",
		Args:    someArgs(0, 1),
	}
	s.addDir(cmd)
	cmd.Flags().BoolVar(&s.dryRun, "dry-run", false, "write nothing, and count")
	cmd.Flags().BoolVar(&quiet, "quiet", false, "print no line for each message")
	cmd.RunE = p.local(func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0 && s.dir == "" && !s.dryRun:
			return s.exportByNode(cmd.Context(), quiet)
		case len(args) == 0 != s.dryRun:
			return usagef("give the folder to write to, or --dry-run")
		}
		return s.export(args, quiet)
	})
	return cmd
}

// exportByNode makes the node export what was set aside.
func (s *spooling) exportByNode(ctx context.Context, quiet bool) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	defer c.Close()
	sum, err := c.ExportSpool(ctx, func(m api.SpoolMessage) { s.exported(&m, quiet) })
	if err != nil {
		return err
	}
	err = s.print(sum, func(w io.Writer) error {
		if len(sum.To) == 0 {
			_, err := fmt.Fprintln(w, "nothing was set aside that is not exported already")
			return err
		}
		for _, to := range sum.To {
			fmt.Fprintf(w, "written to %s on the node\n", words.Clean(to))
		}
		return summary(w, &sum)
	})
	return orDamaged(err, &sum)
}

// exported prints the line of one message.
func (s *spooling) exported(m *api.SpoolMessage, quiet bool) {
	switch {
	case quiet || s.json:
	case m.Problem != "":
		fmt.Fprintf(s.out, "%s %d bytes, %s\n", words.Clean(m.ID), m.Bytes, words.Clean(m.Problem))
	case m.NoEnvelope:
		fmt.Fprintf(s.out, "%s %d bytes, no envelope\n", words.Clean(m.ID), m.Bytes)
	default:
		fmt.Fprintf(s.out, "%s %d bytes\n", words.Clean(m.ID), m.Bytes)
	}
}

// summary writes the last lines of an export.
func summary(w io.Writer, sum *api.SpoolExport) error {
	for _, p := range sum.Problems {
		fmt.Fprintf(w, "! %s\n", words.Clean(p))
	}
	_, err := fmt.Fprintf(w, "%d messages, %d bodies without an envelope, %d damaged; %d bytes\n", sum.Messages, sum.Orphans, sum.Damaged, sum.Bytes)
	return err
}

// orDamaged returns err, or the exit code of an incomplete export.
func orDamaged(err error, sum *api.SpoolExport) error {
	if err == nil && !sum.Whole() {
		return &answered{exitNo}
	}
	return err
}

func (s *spooling) export(args []string, quiet bool) error {
	dir, err := s.folder()
	if err != nil {
		return err
	}
	to := ""
	if len(args) > 0 {
		to = args[0]
	}
	sum, err := salvage.Export(dir, to, func(m api.SpoolMessage) { s.exported(&m, quiet) })
	if errors.Is(err, spool.ErrLocked) {
		err = fmt.Errorf("%w: stop anymx-edge, or set the spool aside before", err)
	}
	if err != nil {
		return err
	}
	return orDamaged(s.print(sum, func(w io.Writer) error { return summary(w, &sum) }), &sum)
}
