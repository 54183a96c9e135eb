// Package provision gives a node its config: it finds the tree that an operator
// handed it, checks it as the programs would, and puts it where they read it.
//
// What happens to the data:
//
//  1. The sources are looked at in their order (source.go): systemd credentials, a
//     file system labelled ANYMX, the ESP, what was kept on /var. The first that
//     has an anymx.toml is taken whole; one that is there and can't be read is not
//     passed over.
//  2. Out of it comes a Tree in memory: anymx.toml, the files that it names, and
//     the folders credentials and network (tree.go, folder.go, tar.go). Nothing
//     else of the source is read, no link is followed, and every size and number
//     has a limit, for a stick is as trustworthy as its last owner.
//  3. The Tree is checked as it stands in memory (check.go), so that a bad one
//     never comes near the one in force.
//  4. It is placed (plan.go, place.go): everything new is written aside first, and
//     then renamed. The folder of the config is swapped in one step.
//  5. A good one from a file system is kept on /var (keep.go), so that the stick
//     can be pulled.
//  6. What came of it is a Report (report.go): on the console, in the folder of the
//     config, and on the network where there is no valid config (trouble.go). No
//     secret stands in it.
//
// Nothing here runs beside itself: whoever calls Run sees to it that only one does.
package provision

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"time"

	"anymx/edge/config"
)

// Where things are, below Options.Root.
const (
	configDir  = "/run/anymx-config"             // /etc/anymx leads here
	secretDir  = "/run/credstore"                // systemd's, for ImportCredential=
	networkDir = "/run/systemd/network"          // systemd-networkd's
	keptDir    = "/var/lib/anymx-machine/config" // what was kept
	systemDir  = "/run/credentials/@system"      // systemd's, of the whole machine
	etcDir     = "/etc/anymx"                    // what a config calls configDir
)

// Settle is long enough for a machine with many disks.
const Settle = 3 * time.Second

// Options is what Run works with. The zero value is a real node, without
// credentials.
type Options struct {
	// Root stands before every path; "" means "/". It is for tests.
	Root string
	// Credentials is the directory that systemd made for the unit
	// (CREDENTIALS_DIRECTORY, with ImportCredential=anymx.*); "": none. Root does not
	// stand before it.
	Credentials string
	// ESP are the folders at which the ESP may be mounted; the first one that is
	// there counts. Nil means /efi, /boot.
	ESP []string
	// Wait is how long to wait for a file system ANYMX while no other source has a
	// config: a stick takes seconds to appear. 0: not at all.
	Wait time.Duration
	// Settle is how long to wait for udev to look at the disks that are there, before
	// a source is taken that goes behind them. 0: not at all.
	Settle time.Duration
	// Console gets the report, as text for people; nil: nobody.
	Console io.Writer
	// Reload has systemd read its units again; nil: nobody is asked. It is called where
	// ingress.listen is not what anymx-edge.socket has.
	Reload func(ctx context.Context) error
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Group finds the number of a group; nil asks the system. It is not asked unless
	// the process is root: only root can give files away.
	Group func(name string) (gid int, err error)
}

// Run provisions the node: it is called at boot, and again whenever the sources
// may have changed.
//
// The Report says what came of it. A bad config is no error: Report.OK is false
// then, and what was in force stays so; at boot, when nothing is in force, no
// anymx.toml is placed. A config of which only files are missing or broken is placed
// at boot, and refused while another one is in force. The error is of a machine that can't be written to; the
// Report is as complete as it could be.
func Run(ctx context.Context, o Options) (Report, error) {
	o = o.withDefaults()
	r := Report{At: o.Now()}
	before, err := readPlaced(o.Root)
	if err != nil {
		return r, err
	}
	found, looked := find(ctx, o)
	r.Looked = looked
	r.take(&found, o, !before.Config)

	switch {
	case r.OK():
		if err = o.place(&r, found.tree, before); err == nil {
			err = o.listen(ctx, found.tree)
		}
	case before.Config:
		r.InForce, r.Source = true, before.Source
	default:
		err = o.placeNothing(&r, found.tree, before)
	}
	if err == nil && r.OK() && len(r.Missing) == 0 && found.keep {
		if err := o.keep(&r, found.tree); err != nil {
			r.note("the config could not be kept on /var, so that the stick is needed at the next boot too: %s", err)
		}
	}
	if o.Console != nil {
		io.WriteString(o.Console, r.Text()) // there is nobody else to tell
	}
	if err != nil {
		return r, fmt.Errorf("provision: %w", err)
	}
	return r, nil
}

// listen has systemd open the addresses that the config names.
func (o Options) listen(ctx context.Context, t Tree) error {
	cfg, err := config.Parse(configFile, t.Files[configFile])
	if err != nil {
		return err // Check has found no problem in it
	}
	changed, err := o.socket(cfg)
	if err != nil || !changed || o.Reload == nil {
		return err
	}
	return o.Reload(ctx)
}

func (o Options) withDefaults() Options {
	if o.ESP == nil {
		o.ESP = []string{"/efi", "/boot"}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Group == nil {
		o.Group = lookupGroup
	}
	return o
}

// path is a path of the node on this machine.
func (o Options) path(name string) string { return o.Root + name }

func lookupGroup(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

// root says whether this process can give files away.
func root() bool { return os.Geteuid() == 0 }
