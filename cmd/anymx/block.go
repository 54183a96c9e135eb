package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/config"
	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/operate/words"
)

// listing is one run of a command that adds prefixes to a list.
type listing struct {
	*program
	allow         bool
	lasts, reason string
}

func (p *program) blockCommand() *cobra.Command {
	l := &listing{program: p}
	cmd := &cobra.Command{
		Use: "block PREFIX...", Short: "Drop what comes from a prefix",
		Long: `Block drops every packet from a prefix to the service addresses, from now on; an
address covers only itself. Open connections fall silent, and end by their
timeouts.

It holds for good, over restarts and reboots, or for as long as --for says, and takes
the place of what was said of the same prefix before. A longer prefix that is
allowed goes on passing.

Your own address, where SSH tells it, is blocked if you say so; you are warned.`,
		Example: "  anymx shield block 198.51.100.7\n  anymx shield block 2001:db8:bad::/48 --for 1h --reason \"scans all night\"",
	}
	l.addTo(cmd)
	return cmd
}

func (p *program) allowCommand() *cobra.Command {
	l := &listing{program: p, allow: true}
	cmd := &cobra.Command{
		Use: "allow PREFIX...", Short: "Exempt a prefix from blocks and from the connection rate",
		Long: `Allow exempts a prefix from blocks of shorter prefixes, and from the limit on new
connections (connection_rate in the config); an address covers only itself.
It does not exempt from cookies: addresses can be forged.

It holds for good, over restarts and reboots, or for as long as --for says, and takes
the place of what was said of the same prefix before.`,
		Example: "  anymx shield allow 203.0.113.64/28 --reason \"our own relays\"\n  anymx shield allow 198.51.100.7 --for 2d",
	}
	l.addTo(cmd)
	return cmd
}

func (l *listing) addTo(cmd *cobra.Command) {
	cmd.Args, cmd.ValidArgsFunction = someArgs(1, -1), cobra.NoFileCompletions
	cmd.Flags().StringVar(&l.lasts, "for", "", "how `LONG`, such as 1h or 5d; for good unless given")
	cmd.Flags().StringVar(&l.reason, "reason", "", "why, as `TEXT` that is shown in the list")
	cmd.RunE = l.network(func(cmd *cobra.Command, args []string, c *control.NetworkClient) error {
		entries, err := l.entries(args)
		if err != nil {
			return err
		}
		return l.run(cmd.Context(), c, entries)
	})
}

// entries parses the command line before anything is sent, so that an error in it changes nothing.
func (l *listing) entries(args []string) ([]api.ShieldEntry, error) {
	list, err := parsePrefixes(args)
	if err != nil {
		return nil, err
	}
	var until time.Time
	if l.lasts != "" {
		var d config.Duration
		if err := d.UnmarshalText([]byte(l.lasts)); err != nil {
			return nil, usagef("--for: %w", err)
		}
		if d < config.Duration(time.Second) {
			return nil, usagef("--for %s: want a second or more", l.lasts)
		}
		until = l.now().Add(time.Duration(d))
	}
	var entries []api.ShieldEntry
	for _, p := range list {
		if p.Bits() == 0 && !l.allow {
			return nil, usagef("%s is everybody: to take no mail at all, use `anymx drain`", p)
		}
		entries = append(entries, api.ShieldEntry{Prefix: p, Allowed: l.allow, Until: until, Reason: l.reason})
	}
	return entries, nil
}

// run adds the entries one by one, and prints those added even if a later one is refused.
func (l *listing) run(ctx context.Context, c *control.NetworkClient, entries []api.ShieldEntry) error {
	own := ownAddress(l.getenv)
	listed := []api.ShieldEntry{}
	var failed error
	for _, e := range entries {
		if !e.Allowed && e.Prefix.Contains(own) {
			fmt.Fprintf(l.errOut, "anymx: warning: %s is in %s and is where you come from (SSH): the service addresses can't be reached from there any more; `anymx shield unblock %s` takes it back\n",
				own, e.Prefix, e.Prefix)
		}
		e, err := c.ShieldList(ctx, e)
		if err != nil {
			failed = about(entries[len(listed)].Prefix, err)
			break
		}
		listed = append(listed, e)
		if !l.json {
			if _, err := fmt.Fprintln(l.out, words.ShieldEntryText(e)); err != nil {
				return err
			}
		}
	}
	if l.json {
		if err := l.print(listed, nil); err != nil {
			return err
		}
	}
	return failed
}

// about adds the prefix to an error from anymx-net, but not to one of the connection.
func about(p netip.Prefix, err error) error {
	var refused *api.Error
	if !errors.As(err, &refused) || strings.Contains(refused.Text, p.String()) {
		return err
	}
	return fmt.Errorf("%s: %w", p, err)
}

// ownAddress returns the operator's address as SSH reports it; invalid if it does not.
func ownAddress(getenv func(string) string) netip.Addr {
	for _, name := range []string{"SSH_CLIENT", "SSH_CONNECTION"} {
		address, _, _ := strings.Cut(getenv(name), " ")
		if a, err := netip.ParseAddr(address); err == nil {
			return a.Unmap().WithZone("")
		}
	}
	return netip.Addr{}
}

// parsePrefixes parses prefixes; an address is a prefix of one address.
func parsePrefixes(args []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, arg := range args {
		p, err := config.ParsePrefix(arg)
		switch {
		case err != nil:
			return nil, &usageError{err}
		case p != p.Masked():
			return nil, usagef("%s has bits set behind its length: write %s, or the address alone", p, p.Masked())
		}
		list = append(list, p)
	}
	return list, nil
}

// unlisted is the result of unblock for a prefix, as JSON.
type unlisted struct {
	Prefix  netip.Prefix `json:"prefix"`
	Removed bool         `json:"removed"`
	// Within is the entry that decides now, if there is one.
	Within *api.ShieldEntry `json:"within,omitempty"`
}

func (p *program) unblockCommand() *cobra.Command {
	return &cobra.Command{
		Use: "unblock PREFIX...", Aliases: []string{"unlist"}, Short: "Take a prefix off the list that it is on",
		Long: `Unblock takes back what 'anymx shield block' or 'allow' said of a prefix: the prefix as
it stands in 'anymx shield list', not one inside of it. To let an address out of a
blocked network, allow it.

What stands in a file that the config names is taken out there.

It exits 4 if a prefix is on no list, and 1 if one can't be taken off; the others
are.`,
		Example: "  anymx shield unblock 198.51.100.7\n  anymx shield unblock 2001:db8:bad::/48",
		Args:    someArgs(1, -1), ValidArgsFunction: p.completeListed,
		RunE: p.network(func(cmd *cobra.Command, args []string, c *control.NetworkClient) error {
			list, err := parsePrefixes(args)
			if err != nil {
				return err
			}
			return p.unblock(cmd.Context(), c, list)
		}),
	}
}

// unblock removes prefixes, and continues after one that anymx-net refuses.
func (p *program) unblock(ctx context.Context, c *control.NetworkClient, list []netip.Prefix) error {
	done := []unlisted{}
	var failed error
	for _, prefix := range list {
		removed, err := c.ShieldUnlist(ctx, prefix)
		var refused *api.Error
		if errors.As(err, &refused) && len(list) > 1 && refused.Code != api.NotFound {
			fmt.Fprintf(p.errOut, "anymx: %s\n", words.Clean(about(prefix, err).Error()))
			failed = &answered{exitNo}
			continue
		}
		if err != nil {
			failed = about(prefix, err)
			break
		}
		done = append(done, unlisted{Prefix: prefix, Removed: removed})
	}
	left := api.ShieldLists{}
	if len(done) > 0 {
		left.Entries, _ = c.ShieldLists(ctx) // an extra, so an error is ignored
	}
	for i := range done {
		if held := left.Holding(done[i].Prefix).Entries; len(held) > 0 {
			done[i].Within = &held[0]
		}
		if !done[i].Removed && failed == nil {
			failed = &answered{exitNotFound}
		}
		p.unblockedText(&done[i])
	}
	if p.json {
		if err := p.print(done, nil); err != nil {
			return err
		}
	}
	return failed
}

// unblockedText says what was done and, if the prefix is still listed otherwise, by which entry.
func (p *program) unblockedText(u *unlisted) {
	text := ""
	switch w := u.Within; {
	case w == nil:
	case w.Prefix == u.Prefix:
		text = fmt.Sprintf("; it is still %s, by %s", w.List(), words.Clean(w.Source))
	case w.Allowed:
		text = fmt.Sprintf("; it is in %s, which is allowed", w.Prefix)
	default:
		text = fmt.Sprintf("; it is in %s, which is blocked: `anymx shield unblock %s`, or `anymx shield allow %s`", w.Prefix, w.Prefix, u.Prefix)
	}
	switch {
	case !u.Removed:
		fmt.Fprintf(p.errOut, "anymx: %s is on no list%s\n", u.Prefix, text)
	case !p.json:
		fmt.Fprintf(p.out, "%s is off the list%s\n", u.Prefix, text)
	}
}
