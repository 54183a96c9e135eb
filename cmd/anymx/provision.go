package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

func (p *program) provisionCommand() *cobra.Command {
	o := &ordering{program: p}
	var want api.ProvisionRequest
	cmd := &cobra.Command{
		Use: "provision", Short: "Look for the node's config again: on a stick, on the ESP, kept",
		Long: `Provision looks for the config of this machine as its boot does: in credentials, on
a file system labelled ANYMX (a USB stick), on the ESP, and the stored copy of a stick.
The first source that has one is checked, and put in force as a whole: programs read
it again, and those whose secrets have changed are restarted. A node that had no
config goes into service. One that is not valid changes nothing; each problem is
printed as file:line:key: reason, and the exit code is 1.`,
		Example: "  anymx provision\n  anymx provision --forget",
		Args:    noArgs,
	}
	cmd.Flags().BoolVar(&want.Forget, "forget", false, "before that, forget the stored copy of a stick")
	o.socketFlag(cmd)
	cmd.RunE = p.local(func(cmd *cobra.Command, _ []string) error {
		c := o.machine()
		defer c.Close()
		done, err := c.Provision(cmd.Context(), want)
		if err != nil {
			return err
		}
		err = p.print(done, func(w io.Writer) error {
			for line := range strings.Lines(done.Text) {
				if _, err := fmt.Fprintln(w, words.Clean(strings.TrimRight(line, "\n"))); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil && !done.OK {
			err = &answered{exitNo}
		}
		return err
	})
	return cmd
}
