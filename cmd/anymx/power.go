package main

import (
	"context"
	"iter"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

const powerHelp = `The node leaves service first, as with 'anymx drain --until restart': each step of
that has its limit in the section [drain] of the config. What is not handed over
to core by then stays in the spool, on disk. A node that does not answer holds up
nothing.

The order goes on without this command.`

// powerCommands returns reboot and poweroff.
func (p *program) powerCommands() []*cobra.Command {
	return []*cobra.Command{
		p.powerCommand("reboot", "Drain the node and reboot the machine",
			"Reboot drains the node and reboots the machine, into the version that\n'anymx update --status' calls the next.",
			"  anymx reboot\n  anymx reboot --reason \"new memory\" --now", (*control.MachineClient).Reboot),
		p.powerCommand("poweroff", "Drain the node and turn the machine off",
			"Poweroff drains the node and turns the machine off.",
			"  anymx poweroff --reason \"moves to another rack\"", (*control.MachineClient).Poweroff),
	}
}

func (p *program) powerCommand(name, short, long, example string,
	order func(*control.MachineClient, context.Context, api.PowerRequest) iter.Seq2[api.MachineProgress, error]) *cobra.Command {

	o := &ordering{program: p}
	cmd := &cobra.Command{Use: name, Short: short, Long: long + "\n\n" + powerHelp, Example: example, Args: noArgs}
	cmd.Flags().StringVar(&o.power.Reason, "reason", "", "why, as `TEXT` that is shown in status and log")
	cmd.Flags().BoolVar(&o.power.Now, "now", false, "withdraw at once: let no traffic move away before")
	o.socketFlag(cmd)
	cmd.RunE = p.local(func(cmd *cobra.Command, _ []string) error {
		c := o.machine()
		defer c.Close()
		return o.follow(cmd.Context(), order(c, cmd.Context(), o.power))
	})
	return cmd
}
