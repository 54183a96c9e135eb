package provision

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"anymx/edge/config"
)

// aside is the suffix of a folder's name until it is moved into place.
const aside = ".new"

// unseen is the name of a file until it is renamed, in a folder that others read: neither systemd's
// patterns nor systemd-networkd match it.
func unseen(name string) string { return "." + name + aside }

// install puts a good bundle in force.
func (o Options) install(r *Report, t Bundle, before placed) error {
	cfg, err := config.Parse(configFile, t.Files[configFile])
	if err != nil {
		return err // Check has found no problem in it
	}
	p := planOf(t, cfg)
	network, err := o.networkFiles(p.network, before, r)
	if err != nil {
		return err
	}
	secrets, err := o.secretFiles(p.secrets, r)
	if err != nil {
		return errors.Join(err, network.drop())
	}
	if err := o.configFolder(r, p, before); err != nil {
		return errors.Join(err, network.drop(), secrets.drop())
	}
	if !r.Changed.Any() && before.Config && before.Source == r.Source {
		return os.RemoveAll(o.path(configDir) + aside) // so that nobody reloads for nothing
	}
	// From here on there are only renames, which a full /run does not stop.
	return errors.Join(secrets.commit(), network.commit(), o.swap())
}

// installNothing is for a node without a config in force: it gets the report, and the valid network
// files, with which it may be reached to read that.
func (o Options) installNothing(r *Report, t Bundle, before placed) error {
	good := slices.DeleteFunc(planOf(t, nil).network, func(it item) bool {
		return slices.ContainsFunc(r.Problems, func(p config.Problem) bool { return p.File == it.name })
	})
	network, err := o.networkFiles(good, before, r)
	if err != nil {
		r.note("the network files were not installed: %s", err)
		network = fileSet{}
	}
	if err := o.configFolder(r, plan{}, before); err != nil {
		return errors.Join(err, network.drop())
	}
	return errors.Join(network.commit(), o.swap())
}

// WantsRoutes reports whether the config in force, below root ("" on a node), needs anymx-bgp.
func WantsRoutes(root string) bool {
	_, err := os.Lstat(filepath.Join(root+configDir, routesFile))
	return err == nil
}

// fileSet is files in a folder that others use too: written aside, then renamed.
type fileSet struct {
	dir    string
	write  []string // names written under their unseen names
	remove []string // names to be removed
}

func (s fileSet) commit() error {
	var errs []error
	for _, name := range s.write {
		errs = append(errs, os.Rename(filepath.Join(s.dir, unseen(name)), filepath.Join(s.dir, name)))
	}
	for _, name := range s.remove {
		if err := os.Remove(filepath.Join(s.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// drop removes what was written aside.
func (s fileSet) drop() error {
	var errs []error
	for _, name := range s.write {
		errs = append(errs, os.Remove(filepath.Join(s.dir, unseen(name))))
	}
	return errors.Join(errs...)
}

// networkFiles writes the files for systemd-networkd aside. Foreign files in its folder, such as
// systemd's own from credentials, are not replaced.
func (o Options) networkFiles(items []item, before placed, r *Report) (fileSet, error) {
	s, err := o.fileSet(networkDir, 0o755)
	if err != nil {
		return s, err
	}
	for _, it := range items {
		old, err := os.ReadFile(filepath.Join(s.dir, it.at))
		ours := slices.Contains(before.Network, it.at)
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return s, errors.Join(err, s.drop())
		case err == nil && !ours && !bytes.Equal(old, it.data):
			r.note("%s was not installed: systemd-networkd already has a file of that name, from a credential or the kernel command line", it.name)
			continue
		case err == nil && !ours:
			continue
		}
		r.Network = append(r.Network, it.at)
		if err == nil && bytes.Equal(old, it.data) {
			continue
		}
		if err := s.add(o, it); err != nil {
			return s, errors.Join(err, s.drop())
		}
		r.Changed.Network = append(r.Changed.Network, it.name)
	}
	for _, name := range before.Network {
		if !slices.Contains(r.Network, name) && filepath.Base(name) == name {
			s.remove = append(s.remove, name)
			r.Changed.Network = append(r.Changed.Network, networkIn+"/"+name)
		}
	}
	return s, nil
}

// secretFiles writes the credentials aside. All names in systemd's store that units of a node
// import are ours.
func (o Options) secretFiles(items []item, r *Report) (fileSet, error) {
	s, err := o.fileSet(secretDir, 0o700)
	if err != nil {
		return s, err
	}
	keep := map[string]bool{}
	for _, it := range items {
		keep[it.at] = true
		old, err := os.ReadFile(filepath.Join(s.dir, it.at))
		if err == nil && bytes.Equal(old, it.data) {
			continue
		}
		if err := s.add(o, it); err != nil {
			return s, errors.Join(err, s.drop())
		}
		r.Changed.Credentials = append(r.Changed.Credentials, it.name)
	}
	there, err := os.ReadDir(s.dir)
	if err != nil {
		return s, errors.Join(err, s.drop())
	}
	for _, e := range there {
		if name := e.Name(); !keep[name] && imported(name) {
			s.remove = append(s.remove, name)
			r.Changed.Credentials = append(r.Changed.Credentials, secretsIn+"/"+name)
		}
	}
	return s, nil
}

func (o Options) fileSet(dir string, mode fs.FileMode) (fileSet, error) {
	s := fileSet{dir: o.path(dir)}
	return s, os.MkdirAll(s.dir, mode)
}

func (s *fileSet) add(o Options, it item) error {
	name := it.at
	it.at = unseen(name)
	err := o.write(s.dir, it)
	if err == nil {
		s.write = append(s.write, name)
	}
	return err
}

// configFolder builds the config folder aside, with the files about its source.
func (o Options) configFolder(r *Report, p plan, before placed) error {
	next := o.path(configDir) + aside
	if err := os.RemoveAll(next); err != nil { // of a run that was killed
		return err
	}
	if err := o.mkdir(next, everyProgram); err != nil {
		return err
	}
	dirs := make(map[string]bool, len(p.folders))
	for dir := range p.folders {
		dirs[dir] = true
	}
	for _, dir := range sorted(dirs) { // a folder before those in it
		if err := o.mkdir(filepath.Join(next, dir), p.folders[dir]); err != nil {
			return err
		}
	}
	for _, it := range p.config {
		if err := o.write(next, it); err != nil {
			return err
		}
	}
	r.Changed.Config = append(r.Changed.Config, o.changed(p.config, before)...)
	texts := []item{{at: sourceFile, data: []byte(r.Source + "\n")}}
	if !r.OK() {
		texts = append(texts, item{at: problemFile, data: []byte(r.Text())})
	}
	if p.routes {
		texts = append(texts, item{at: routesFile})
	}
	report, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	for _, it := range append(texts, item{at: reportFile, data: append(report, '\n')}) {
		it.mode, it.group = 0o640, everyProgram
		if err := o.write(next, it); err != nil {
			return err
		}
	}
	return nil
}

// changed names the files that differ from those in force.
func (o Options) changed(items []item, before placed) []string {
	var list []string
	own := map[string]bool{sourceFile: true, problemFile: true, reportFile: true, routesFile: true}
	for _, it := range items {
		own[it.at] = true
		old, err := os.ReadFile(filepath.Join(o.path(configDir), it.at))
		if err != nil || !bytes.Equal(old, it.data) {
			list = append(list, it.name)
		}
	}
	if !before.Config {
		return list
	}
	top := o.path(configDir)
	_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error { // what can't be read is replaced anyway
		if err != nil || d.IsDir() {
			return nil
		}
		if name, err := filepath.Rel(top, path); err == nil && !own[name] {
			list = append(list, name)
		}
		return nil
	})
	return list
}

// swap replaces the folder in force by the one that was built aside, in one step, and removes the
// old one.
func (o Options) swap() error {
	now, next := o.path(configDir), o.path(configDir)+aside
	return swap(next, now)
}

// swap exchanges two folders, of which old may be absent, and removes old.
func swap(next, old string) error {
	err := unix.Renameat2(unix.AT_FDCWD, next, unix.AT_FDCWD, old, unix.RENAME_EXCHANGE)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Rename(next, old)
	}
	if err != nil {
		return fmt.Errorf("swap %s and %s: %w", next, old, err)
	}
	return os.RemoveAll(next)
}

// mkdir makes a folder that a group may read.
func (o Options) mkdir(path, group string) error {
	if err := os.Mkdir(path, 0o750); err != nil {
		return err
	}
	return o.give(path, 0o750, group)
}

// write makes a file, which must not exist unless it was left aside.
func (o Options) write(dir string, it item) error {
	path := filepath.Join(dir, it.at)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, bytes.NewReader(it.data))
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return o.give(path, it.mode, it.group)
}

// give sets mode and group. Only root can change the group.
func (o Options) give(path string, mode fs.FileMode, group string) error {
	if root() && group != "" {
		gid, err := o.Group(group)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := os.Chown(path, 0, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, mode)
}
