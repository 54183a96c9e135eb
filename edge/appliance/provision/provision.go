// Package provision gives a node its config: it finds the config bundle that an operator provided,
// checks it as the programs would, and installs it where they read it.
//
// What happens to the data:
//
//  1. The sources are read in their order (source.go): systemd credentials, a
//     file system labelled ANYMX, the ESP, the copy on /var. The first that
//     has an anymx.toml is used completely; one that exists but can't be read is not
//     skipped.
//  2. The result is a Bundle in memory: anymx.toml, the files that it names, and
//     the folders credentials and network (bundle.go, folder.go, tar.go). Nothing
//     else of the source is read, no link is followed, and every size and number
//     has a limit, since a stick is only as trustworthy as its last owner.
//  3. The Bundle is checked in memory (check.go), so that a bad one never touches
//     the one in force.
//  4. It is installed (plan.go, place.go): everything new is written aside first, and
//     then renamed. The config folder is swapped in one step.
//  5. A good one from a file system is copied to /var (keep.go), so that the stick
//     can be removed.
//  6. The outcome is a Report (report.go): on the console, in the config folder, and
//     on the network where there is no valid config (trouble.go). It contains no
//     secret.
//
// Only one Run at a time is allowed; the caller ensures that.
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

// Paths below Options.Root.
const (
	configDir  = "/run/anymx-config"             // /etc/anymx is a link to it
	secretDir  = "/run/credstore"                // systemd's, for ImportCredential=
	networkDir = "/run/systemd/network"          // systemd-networkd's
	keptDir    = "/var/lib/anymx-machine/config" // the copy
	systemDir  = "/run/credentials/@system"      // systemd's, of the whole machine
	etcDir     = "/etc/anymx"                    // the path of configDir in a config
)

// Settle is long enough for a machine with many disks.
const Settle = 3 * time.Second

// Options are the settings of Run. The zero value is a real node, without credentials.
type Options struct {
	// Root is prepended to every path; "" means "/". It is for tests.
	Root string
	// Credentials is the directory that systemd made for the unit (CREDENTIALS_DIRECTORY, with
	// ImportCredential=anymx.*); "": none. Root is not prepended to it.
	Credentials string
	// ESP are the folders where the ESP may be mounted; the first existing one counts. Nil means
	// /efi, /boot.
	ESP []string
	// Wait is how long to wait for a file system ANYMX while no other source has a config: a stick
	// takes seconds to appear. 0: not at all.
	Wait time.Duration
	// Settle is how long to wait for udev to process the existing disks before a source of lower
	// precedence is used. 0: not at all.
	Settle time.Duration
	// Console gets the report as text; nil: none.
	Console io.Writer
	// Reload makes systemd read its units again; nil: not done. It is called if ingress.listen
	// differs from anymx-edge.socket.
	Reload func(ctx context.Context) error
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Group returns the number of a group; nil asks the system. It is only called as root: only
	// root can change groups.
	Group func(name string) (gid int, err error)
}

// Run provisions the node: it is called at boot, and again whenever the sources may have changed.
//
// The Report says what happened. A bad config is not an error: Report.OK is false then, and the
// previous config stays in force; at boot, when none is in force, no anymx.toml is installed. A
// config whose only fault is missing or broken files is installed at boot, and refused while
// another one is in force. The error is for a machine that can't be written to; the Report is as
// complete as possible then.
func Run(ctx context.Context, o Options) (Report, error) {
	o = o.withDefaults()
	r := Report{At: o.Now()}
	before, err := readPlaced(o.Root)
	if err != nil {
		return r, err
	}
	found, looked := find(ctx, o)
	r.Looked = looked
	r.record(&found, o, !before.Config)

	switch {
	case r.OK():
		if err = o.install(&r, found.bundle, before); err == nil {
			err = o.listen(ctx, found.bundle)
		}
	case before.Config:
		r.InForce, r.Source = true, before.Source
	default:
		err = o.installNothing(&r, found.bundle, before)
	}
	if err == nil && r.OK() && len(r.Missing) == 0 && found.keep {
		if err := o.keep(&r, found.bundle); err != nil {
			r.note("the config could not be copied to /var; the next boot needs the stick: %s", err)
		}
	}
	if o.Console != nil {
		io.WriteString(o.Console, r.Text()) // nothing else to report to
	}
	if err != nil {
		return r, fmt.Errorf("provision: %w", err)
	}
	return r, nil
}

// listen makes systemd open the addresses that the config names.
func (o Options) listen(ctx context.Context, t Bundle) error {
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

// path returns a node's path on this machine.
func (o Options) path(name string) string { return o.Root + name }

func lookupGroup(name string) (int, error) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(g.Gid)
}

// root reports whether this process can change the group of files.
func root() bool { return os.Geteuid() == 0 }
