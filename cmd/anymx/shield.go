package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

const shieldHelp = `Shield shows and changes the packet filter in front of ingress, which anymx-net
holds. It touches what is sent to the service addresses and nothing else.

Two lists say what becomes of packets by their source: what is blocked is dropped;
what is allowed is not hit by a block of a shorter prefix, and may open any number
of connections. The longest prefix that holds a source decides.`

func (p *program) shieldCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "shield", Short: "Show and change the packet filter in front of ingress", Long: shieldHelp,
		Example: "  anymx shield status\n  anymx shield top\n  anymx shield block 198.51.100.0/24 --for 1h --reason flood",
		Args:    unknownCommand,
		RunE:    p.local(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
	}
	cmd.AddCommand(p.shieldStatusCommand(), p.shieldTopCommand(), p.shieldListCommand(), p.shieldModeCommand(),
		p.blockCommand(), p.allowCommand(), p.unblockCommand())
	return cmd
}

func (p *program) shieldStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show how the shield stands, and what became of packets",
		Long: `Status shows on which devices the shield stands and how, whose cookies answer
SYNs, whether a flood is under way, and how many packets came to each verdict since
the shield was loaded first: restarts of anymx-net do not reset them. Pressure is
measured in windows of an eighth of a second.

It exits 1 if packets pass unseen: on one device, or because the shield is off or
there is none.`,
		Example: "  anymx shield status\n  anymx shield status --json | jq '.verdicts[] | select(.packets > 0)'",
		Args:    noArgs,
		RunE: p.network(func(cmd *cobra.Command, _ []string, c *control.NetworkClient) error {
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := p.printShield(s, func(s *api.ShieldStatus, w io.Writer) error { return words.WriteShield(w, *s) }); err != nil {
				return err
			}
			if words.ShieldIsOpen(s.Shield) {
				return &answered{exitNo}
			}
			return nil
		}),
	}
}

// errNoShield is the error for an anymx-net without a shield.
var errNoShield = errors.New("there is no shield: the config that anymx-net was started with has no section [shield]")

// printShield prints the shield of s.
func (p *program) printShield(s api.NetworkStatus, text func(*api.ShieldStatus, io.Writer) error) error {
	if s.Shield != nil {
		return p.print(s.Shield, func(w io.Writer) error { return text(s.Shield, w) })
	}
	if p.json {
		return errors.Join(p.print(s.Shield, nil), errNoShield)
	}
	return errNoShield
}

// maxTop is the longest list that anymx-net returns.
const maxTop = 1000

func (p *program) shieldTopCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "top", Short: "Show who sends the most packets, and who opens the most connections",
		Long: `Top shows two lists of prefixes, /24 of IPv4 and /64 of IPv6, the worst first:
those whose packets were dropped or answered by the shield, counted from a sample
of one packet in 64; and those that opened new connections, having proved their
address.

The addresses of a flood are forged in most cases: what stands in the first list
need not have sent anything.`,
		Example: "  anymx shield top\n  anymx shield top --limit 5 --json | jq -r '.noisy[].prefix'",
		Args:    noArgs,
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "show at most `N` of each list")
	cmd.RunE = p.network(func(cmd *cobra.Command, _ []string, c *control.NetworkClient) error {
		if limit < 1 || limit > maxTop {
			return usagef("--limit %d: want 1 to %d", limit, maxTop)
		}
		t, err := c.ShieldTop(cmd.Context(), limit)
		if err != nil {
			return err
		}
		t.Noisy, t.Openers = orEmpty(t.Noisy), orEmpty(t.Openers)
		return p.print(t, func(w io.Writer) error { return words.WriteShieldTop(w, t, p.now()) })
	})
	return cmd
}

// shieldModes lists the modes that the shield can be set to.
var shieldModes = []string{"auto", "native", "generic", "off"}

func (p *program) shieldModeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "mode {auto | native | generic | off}", Short: "Make the shield run elsewhere, or let everything pass",
		Long: `Mode changes where the shield meets packets: in the driver (native), in the kernel's
stack (generic), or in the driver where that can do it (auto). With off everything
passes: counters, lists and keys stay.

It lasts until the next restart or reload of anymx-net; 'mode' in the section
[shield] of the config lasts longer. It exits 1 if packets pass unseen on a device
after it, unless that was asked for.`,
		Example:   "  anymx shield mode generic\n  anymx shield mode off && sleep 60; anymx shield mode auto",
		ValidArgs: shieldModes, Args: someArgs(1, 1),
		RunE: p.network(func(cmd *cobra.Command, args []string, c *control.NetworkClient) error {
			if !slices.Contains(shieldModes, args[0]) {
				return usagef("%q is not a mode of the shield: want one of %s", args[0], strings.Join(shieldModes, ", "))
			}
			return p.shieldMode(cmd.Context(), c, args[0])
		}),
	}
}

func (p *program) shieldMode(ctx context.Context, c *control.NetworkClient, mode string) error {
	s, err := c.ShieldMode(ctx, api.ShieldMode{Mode: mode})
	if err != nil {
		return err
	}
	err = p.printShield(s, func(s *api.ShieldStatus, w io.Writer) error {
		lines := append(words.ShieldLines(s), "This lasts until the next restart or reload of anymx-net.")
		return printLines(w, lines)
	})
	if err == nil && mode != "off" && words.ShieldIsOpen(s.Shield) {
		err = &answered{exitNo}
	}
	return err
}

func (p *program) shieldListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list [PREFIX]", Short: "Show which prefixes are blocked and allowed",
		Long: `List shows the block list and the allow list, in the order of addresses: what
commands put there, and what stands in the files that the config names.

With an address or a PREFIX it shows only what holds all of that, the longest first:
the first line is the one that decides. It exits 4 if there is none.`,
		Example: "  anymx shield list\n  anymx shield list 203.0.113.7\n  anymx shield list --json | jq -r '.[] | select(.source == \"command\").prefix'",
		Args:    someArgs(0, 1), ValidArgsFunction: p.completeListed,
		RunE: p.network(func(cmd *cobra.Command, args []string, c *control.NetworkClient) error {
			wanted, err := parsePrefixes(args)
			if err != nil {
				return err
			}
			all, err := c.ShieldLists(cmd.Context())
			if err != nil {
				return err
			}
			l := api.ShieldLists{Entries: all}
			l.Sort()
			if len(wanted) > 0 {
				l = l.Holding(wanted[0])
			}
			missing := len(wanted) > 0 && len(l.Entries) == 0
			err = p.print(orEmpty(l.Entries), func(w io.Writer) error {
				if missing {
					_, err := fmt.Fprintf(w, "%s is in no prefix on the lists\n", wanted[0])
					return err
				}
				return words.WriteShieldLists(w, l, p.now())
			})
			if err == nil && missing {
				err = &answered{exitNotFound}
			}
			return err
		}),
	}
}

// completeListed completes the prefixes that are on a list.
func (p *program) completeListed(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	s, err := p.sockets()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c := control.NewNetworkClient(s.Network)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	all, _ := c.ShieldLists(ctx)
	l := api.ShieldLists{Entries: all}
	l.Sort()
	return words.CompletePrefixes(l, args, typed), cobra.ShellCompDirectiveNoFileComp
}
