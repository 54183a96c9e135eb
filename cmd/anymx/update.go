package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

const updateHelp = `Update brings another version of the image onto this machine: an update bundle
from a FILE ("-": standard input), or from an http or https URL, which the machine
fetches itself.

  receive  the bundle's signature is verified before anything else of it is used,
           and each of its files while it comes
  write    it is written into the slot that does not run
  check    what was written is read back from the disk
  drain    the node leaves service, as with 'anymx drain --until restart'
  reboot   into the new version

The new version must be confirmed: it must pass its self-test (a message through
each listener), and reach every BGP peer that had a session before. If it does not
within five minutes, the machine reboots; after three boot attempts it comes back
to the version that runs now.

Once the bundle has come whole, the update goes on without this command. To
interrupt it before changes nothing.

  --stage-only  ends when the version is written. The next boot takes it, whatever
                causes that boot.
  --rollback    goes back to the version in the other slot, if that was
                confirmed on this machine. It drains and reboots.
  --status      shows the slots, what the next boot takes, and what became of the
                last update.

Exit codes:
  0    done: the machine reboots, or what was asked for is done
  1    refused, or failed: it is said why; the version that runs stays the next one
  3    anymx-machine does not answer: is this an appliance?
  130  interrupted`

// ordering is one run of a command that starts an operation of the machine.
type ordering struct {
	*program
	socket string
	power  api.PowerRequest

	want             api.UpdateRequest
	rollback, status bool
}

// socketFlag adds --machine to cmd.
func (o *ordering) socketFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.socket, "machine", "", "control `SOCKET` of anymx-machine (default: ANYMX_MACHINE, or "+control.MachineSocket+")")
}

// machine returns a client of anymx-machine.
func (o *ordering) machine() *control.MachineClient {
	socket := o.socket
	if socket == "" {
		socket = o.getenv("ANYMX_MACHINE")
	}
	if socket == "" {
		socket = control.MachineSocket
	}
	return control.NewMachineClient(socket)
}

func (p *program) updateCommand() *cobra.Command {
	o := &ordering{program: p}
	cmd := &cobra.Command{
		Use: "update {FILE | URL | --rollback | --status}", Short: "Bring another version of the image onto this machine", Long: updateHelp,
		Example: `  anymx update anymx_0.6.0_amd64.update
  anymx update https://releases.example.net/anymx_0.6.0_amd64.update --dry-run
  anymx update anymx_0.6.0_amd64.update --stage-only && anymx reboot
  anymx update --status
  anymx update --rollback`,
	}
	f := cmd.Flags()
	f.BoolVar(&o.want.DryRun, "dry-run", false, "only say whether it could be installed; change nothing")
	f.BoolVar(&o.want.StageOnly, "stage-only", false, "write it, and do not drain and reboot")
	f.BoolVar(&o.want.AllowOlder, "allow-older", false, "take a version that is older than the one that runs")
	f.BoolVar(&o.rollback, "rollback", false, "go back to the version in the other slot")
	f.BoolVar(&o.status, "status", false, "show the slots and the last update")
	o.socketFlag(cmd)
	cmd.Args = exclusive(cmd, someArgs(0, 1), "rollback", "status", "dry-run", "stage-only")
	cmd.RunE = p.local(func(cmd *cobra.Command, args []string) error { return o.update(cmd.Context(), args) })
	return cmd
}

func (o *ordering) update(ctx context.Context, args []string) error {
	switch {
	case (o.rollback || o.status) && (len(args) > 0 || o.want.AllowOlder):
		return usagef("--rollback and --status stand alone")
	case !o.rollback && !o.status && len(args) == 0:
		return usagef("say which update: a FILE, or an URL")
	}
	c := o.machine()
	defer c.Close()
	switch {
	case o.status:
		s, err := c.Status(ctx)
		if err != nil {
			return err
		}
		return o.print(s, func(w io.Writer) error { return words.WriteMachine(w, s, o.now()) })
	case o.rollback:
		return o.follow(ctx, c.Rollback(ctx, o.power))
	case strings.HasPrefix(args[0], "http://") || strings.HasPrefix(args[0], "https://"):
		o.want.URL = args[0]
		return o.follow(ctx, c.Update(ctx, o.want, nil, 0))
	}
	from, size, err := o.open(args[0])
	if err != nil {
		return err
	}
	defer from.Close()
	return o.follow(ctx, c.Update(ctx, o.want, from, size))
}

// open opens a bundle. The size of piped input is unknown: -1.
func (o *ordering) open(name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(o.in), -1, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if !info.Mode().IsRegular() {
		return f, -1, nil
	}
	return f, info.Size(), nil
}

// redraw is how often a step's progress is redrawn: a serial console is slow.
const redraw = 500 * time.Millisecond

// follow shows the progress of an operation until it has ended.
func (o *ordering) follow(ctx context.Context, steps iter.Seq2[api.MachineProgress, error]) error {
	var said []api.MachineProgress
	var shown time.Time
	d := o.display()
	_, _, drawn := o.screen()
	for p, err := range steps {
		if err != nil {
			d.clear()
			return o.failed(ctx, said, err)
		}
		same := len(said) > 0 && said[len(said)-1].Step == p.Step && p.Done < p.Total
		said = append(forget(said), p)
		if o.json {
			if err := o.jsonLine(p); err != nil {
				return err
			}
			continue
		}
		if !p.Ended {
			if !drawn || !same || time.Since(shown) >= redraw {
				d.show(words.MachineReport(said))
				shown = time.Now()
			}
			continue
		}
		d.clear()
		_, err := fmt.Fprintln(o.out, words.Clean(p.Text))
		return err
	}
	return nil
}

// forget drops lines that no report shows any more: those of a step before its last one.
func forget(said []api.MachineProgress) []api.MachineProgress {
	if n := len(said); n > 1 && said[n-1].Step == said[n-2].Step {
		said[n-2] = said[n-1]
		return said[:n-1]
	}
	return said
}

// failed says how a failed operation ended.
func (o *ordering) failed(ctx context.Context, said []api.MachineProgress, err error) error {
	var last api.MachineProgress
	if len(said) > 0 {
		last = said[len(said)-1]
	}
	var nobody *control.Unreachable
	var refusal *api.Error
	switch {
	case errors.As(err, &nobody) && last.Step == api.MachineReboot: // it may go down before it could answer
		return nil
	case ctx.Err() != nil && last.Step != "" && last.Step != api.MachineReceive:
		fmt.Fprintln(o.errOut, "anymx: it goes on without this command: `anymx update --status` shows how far it is")
	case ctx.Err() != nil:
		fmt.Fprintln(o.errOut, "anymx: nothing was changed")
	case errors.As(err, &refusal) && o.json:
		return errors.Join(o.jsonLine(refusal), &answered{exitNo})
	}
	return err
}

// jsonLine writes a value on its own line.
func (o *ordering) jsonLine(value any) error {
	b, err := encode(value, "")
	if err == nil {
		_, err = fmt.Fprintf(o.out, "%s\n", b)
	}
	return err
}
