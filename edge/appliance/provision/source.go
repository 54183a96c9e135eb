package provision

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// found is the content of a source.
type found struct {
	source     string // as text, "" if it has no config
	bundle     Bundle
	err        error    // why its content can't be read; it counts as a bad config
	credential bool     // it takes precedence over everything else
	keep       bool     // it may be gone at the next boot
	says       string   // what to report of the source
	notes      []string // for people
}

// nothing is a source without a config.
func nothing(format string, args ...any) found { return found{says: fmt.Sprintf(format, args...)} }

// broken is a source with a config that can't be read.
func broken(source string, err error) found {
	return found{source: source, err: err, says: err.Error()}
}

// The sources, as shown to people.
const (
	credentialSource = "systemd credentials"
	labelSource      = "file system " + label
	espSource        = "ESP"
	keptSource       = "copy on /var"
)

// source is one place that a config may come from.
type source struct {
	name string
	look func(Options) found
}

// sources lists all sources in order of precedence.
var sources = []source{
	{credentialSource, lookAtCredentials},
	{labelSource, lookAtFileSystems},
	{espSource, lookAtESP},
	{keptSource, lookAtKept},
}

// pause is how often we check for a file system that is waited for.
const pause = 200 * time.Millisecond

// find returns the first source that has a config. While none has, and a stick may still appear, it
// looks again; and also while only a source of lower precedence than sticks has one, and udev has
// not processed all disks yet.
func find(ctx context.Context, o Options) (found, []Look) {
	began := o.Now()
	for {
		settled := !o.Now().Before(began.Add(o.Settle)) || allKnown(o.Root)
		f, looked := choose(o)
		waited := !o.Now().Before(began.Add(o.Wait))
		if f.credential || settled && (f.source != "" || waited) {
			return f, looked
		}
		select {
		case <-ctx.Done():
			return f, looked
		case <-time.After(pause):
		}
	}
}

// choose reads the sources in their order.
func choose(o Options) (found, []Look) {
	var taken found
	var looked []Look
	for _, s := range sources {
		if taken.source != "" {
			looked = append(looked, Look{s.name, "not read"})
			continue
		}
		f := s.look(o)
		if f.source != "" {
			taken = f
			taken.credential = s.name == credentialSource
		}
		looked = append(looked, Look{s.name, f.says})
	}
	if taken.keep && hasConfig(o) {
		taken.notes = append(taken.notes, "the ESP has a config too, which the next boot uses without the stick; to use this one permanently, write it there with `anymx image config`")
	}
	return taken, looked
}

// foundIn is the content of a folder: a bundle, or an error, under the name of its source.
func foundIn(source string, f folder) found {
	switch bundle, err := collect(f); {
	case errors.Is(err, errNoConfig):
		return nothing("no %s", configFile)
	case err != nil:
		return broken(source, err)
	default:
		return found{source: source, bundle: bundle, says: "used"}
	}
}

// The credentials that contain a config.
const (
	treeCredential   = "anymx.tree"   // a tar of the bundle, optionally compressed with gzip
	configCredential = "anymx.config" // anymx.toml alone
)

// lookAtCredentials reads what the hypervisor, the firmware or the kernel command line passed to
// the machine.
func lookAtCredentials(o Options) found {
	if o.Credentials == "" {
		return nothing("none")
	}
	d, err := openDirectory(o.Credentials)
	if errors.Is(err, fs.ErrNotExist) {
		return nothing("none")
	}
	if err != nil {
		return broken(credentialSource, err)
	}
	defer d.close()

	name := "credential " + treeCredential
	data, err := d.read(treeCredential, maxTotal)
	if errors.Is(err, fs.ErrNotExist) {
		return configAlone(d)
	}
	var a *archive
	if err == nil {
		a, err = readTar(data)
	}
	if err != nil {
		return broken(name, fmt.Errorf("%s: %w", treeCredential, err))
	}
	if a.files[configFile] == nil && a.below(ownFolder).files[configFile] != nil {
		a = a.below(ownFolder)
	}
	f := foundIn(name, a)
	if f.source == "" { // it was given for this purpose, so an empty one is a mistake
		return broken(name, fmt.Errorf("%s: %w in it", treeCredential, errNoConfig))
	}
	if _, err := d.read(configCredential, maxConfig); err == nil {
		f.notes = append(f.notes, "the credential "+configCredential+" was given too, but is not used")
	}
	return f
}

func configAlone(d *directory) found {
	name := "credential " + configCredential
	text, err := d.read(configCredential, maxConfig)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nothing("no %s and no %s", treeCredential, configCredential)
	case err != nil:
		return broken(name, fmt.Errorf("%s: %w", configCredential, err))
	}
	return found{source: name, bundle: Bundle{Files: map[string][]byte{configFile: text}}, says: "used"}
}

// systemCredential returns a credential that the machine was given.
func (o Options) systemCredential(name string) ([]byte, bool) {
	data, err := os.ReadFile(filepath.Join(o.path(systemDir), filepath.Base(name)))
	return data, err == nil
}

// lookAtFileSystems reads a stick or a partition. Two of them are refused: it is unclear which is
// meant.
func lookAtFileSystems(o Options) found {
	all, err := labelled(o.Root)
	if err != nil {
		return broken(labelSource, err)
	}
	switch len(all) {
	case 0:
		return nothing("none")
	case 1:
	default:
		return broken(labelSource, fmt.Errorf("found %d, only one is allowed: %s", len(all), strings.Join(names(all), ", ")))
	}
	v := all[0]
	name := labelSource + " on " + v.device
	top, err := v.mount(o.Root)
	if err != nil {
		return broken(name, err)
	}
	defer top.close()
	f := foundIn(name, top)
	if f.source == "" {
		if own, err := top.sub(ownFolder); err == nil {
			defer own.close()
			f = foundIn(name, own)
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
			return broken(name, fmt.Errorf("%s: %w", ownFolder, err))
		}
	}
	if f.source == "" {
		f.says = fmt.Sprintf("%s: no %s at its top or in its folder %s", v.device, configFile, ownFolder)
		return f
	}
	f.keep = f.err == nil
	return f
}

// esp opens the bundle's folder on the ESP. The error wraps fs.ErrNotExist if there is none.
func esp(o Options) (*directory, error) {
	for _, at := range o.ESP {
		d, err := openDirectory(o.path(at))
		if err != nil {
			continue
		}
		own, err := d.sub(ownFolder)
		d.close()
		if !errors.Is(err, fs.ErrNotExist) {
			return own, err
		}
	}
	return nil, fs.ErrNotExist
}

// lookAtESP reads what `anymx image config` wrote.
func lookAtESP(o Options) found {
	d, err := esp(o)
	if errors.Is(err, fs.ErrNotExist) {
		return nothing("no folder %s", ownFolder)
	}
	if err != nil {
		return broken(espSource, err)
	}
	defer d.close()
	return foundIn(espSource, d)
}

// hasConfig reports whether the ESP has a config.
func hasConfig(o Options) bool {
	d, err := esp(o)
	if err != nil {
		return false
	}
	defer d.close()
	_, err = d.read(configFile, maxConfig)
	return err == nil
}
