package provision

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"anymx/edge/config"
)

// Names in a bundle.
const (
	configFile = "anymx.toml"
	secretsIn  = "credentials"
	networkIn  = "network"
	ownFolder  = "anymx" // on a file system that contains other things too
)

// Limits of a bundle, in bytes unless noted otherwise. /run is memory.
const (
	maxConfig  = 16 << 20 // as in package config
	maxFile    = 64 << 20 // a list of recipients or of prefixes
	maxSecret  = 1 << 20  // systemd's limit for one credential
	maxNetwork = 64 << 10
	maxTotal   = 96 << 20
	maxFiles   = 10_000 // number
	maxListed  = 1000   // files of one folder
	maxDepth   = 6      // folders
	maxName    = 100    // of one file or folder
	maxNotes   = 10     // unused files that are reported
)

// Bundle is a config with its files, in memory. Names are paths below its top, with slashes:
// "tls/cert.pem".
type Bundle struct {
	// Files are the files that were read.
	Files map[string][]byte
	// Faults says why files could not be read that should have been.
	Faults map[string]error
	// Unused are files that nothing names, which are not read: the first few, since a misspelt name
	// is easily overlooked.
	Unused []string
}

// Size is the size of all files, in bytes.
func (t *Bundle) Size() int64 {
	var n int64
	for _, data := range t.Files {
		n += int64(len(data))
	}
	return n
}

// Names returns the names of all files, sorted, anymx.toml first.
func (t *Bundle) Names() []string {
	names := make([]string, 0, len(t.Files))
	for name := range t.Files {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if (a == configFile) != (b == configFile) {
			if a == configFile {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}

// Secret reports whether the content of a file in a bundle is secret.
func Secret(name string) bool {
	return strings.HasPrefix(name, secretsIn+"/") || strings.HasSuffix(name, ".netdev") ||
		strings.Contains(path.Base(name), "key") || strings.Contains(path.Base(name), "psk")
}

// folder is where a bundle is read from: an opened directory or the members of a tar. Names are as
// in Bundle; "" is the top.
type folder interface {
	// read returns a regular file of at most `most` bytes. The error wraps fs.ErrNotExist if there
	// is none.
	read(name string, most int64) ([]byte, error)
	// list names the content of a folder, sorted: folders with a slash at the end. It returns at
	// most `most`; more are an error that wraps errTooMany. A missing folder is empty.
	list(name string, most int) ([]string, error)
}

var (
	errNoConfig = errors.New("no " + configFile)
	errTooMany  = errors.New("too many files")
	errTooLarge = errors.New("too large")
)

// collect reads the bundle in f: anymx.toml, what it names, and the two folders with a meaning. The
// error is errNoConfig, or one of reading anymx.toml.
func collect(f folder) (Bundle, error) {
	c := collector{from: f, bundle: Bundle{Files: map[string][]byte{}, Faults: map[string]error{}}}
	text, err := f.read(configFile, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return c.bundle, errNoConfig
	}
	if err != nil {
		return c.bundle, fmt.Errorf("%s: %w", configFile, err)
	}
	c.add(configFile, text)
	folders := map[string]bool{"": true}
	if cfg, err := config.Parse(configFile, text); err == nil { // Check reports what is wrong with it
		for _, u := range usesOf(cfg) {
			if name, ok := inTree(u.path); ok {
				c.readFile(name, u.most())
				folders[path.Dir(name)] = true
			}
		}
	}
	c.folder(secretsIn, maxSecret)
	c.folder(networkIn, maxNetwork)
	delete(folders, ".")
	c.lookForUnused(folders)
	return c.bundle, nil
}

type collector struct {
	from   folder
	bundle Bundle
	total  int64
}

// readFile reads one file. A missing one is reported by Check, which knows who needs it.
func (c *collector) readFile(name string, most int64) {
	if c.bundle.Files[name] != nil || c.bundle.Faults[name] != nil {
		return
	}
	err := CheckName(name)
	if err == nil && len(c.bundle.Files) >= maxFiles {
		err = fmt.Errorf("%w: a bundle has at most %d", errTooMany, maxFiles)
	}
	var data []byte
	if err == nil {
		data, err = c.from.read(name, most)
	}
	if err == nil && c.total+int64(len(data)) > maxTotal {
		err = fmt.Errorf("%w: a bundle has at most %s", errTooLarge, config.Size(maxTotal))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		c.bundle.Faults[name] = err
	default:
		c.add(name, data)
	}
}

func (c *collector) add(name string, data []byte) {
	if data == nil {
		data = []byte{}
	}
	c.bundle.Files[name] = data
	c.total += int64(len(data))
}

// folder reads all files of one folder, except hidden ones.
func (c *collector) folder(name string, most int64) {
	names, err := c.from.list(name, maxListed)
	if err != nil {
		c.bundle.Faults[name] = err
		return
	}
	for _, n := range names {
		if n = path.Join(name, n); !hidden(n) {
			c.readFile(n, most)
		}
	}
}

// lookForUnused notes the first few files that were not read. It is only a convenience: what can't
// be listed is ignored.
func (c *collector) lookForUnused(folders map[string]bool) {
	for _, dir := range sorted(folders) {
		if dir == secretsIn || dir == networkIn {
			continue
		}
		names, _ := c.from.list(dir, maxListed)
		for _, n := range names {
			name := path.Join(dir, n)
			if strings.HasSuffix(n, "/") || hidden(name) || c.bundle.Files[name] != nil || c.bundle.Faults[name] != nil {
				continue
			}
			if len(c.bundle.Unused) == maxNotes {
				return
			}
			c.bundle.Unused = append(c.bundle.Unused, name)
		}
	}
}

func sorted(set map[string]bool) []string {
	var list []string
	for name := range set {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// hidden reports whether a file is one that desktops leave behind.
func hidden(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, ".") || strings.HasSuffix(base, "~")
}

// CheckName returns what is wrong with the name of a file in a bundle. Names must work on every
// file system, and no path may lead out of the bundle.
func CheckName(name string) error {
	parts := strings.Split(name, "/")
	if len(parts) > maxDepth {
		return fmt.Errorf("is more than %d folders deep", maxDepth-1)
	}
	for _, part := range parts {
		switch {
		case part == "" || part == "." || part == "..":
			return errors.New("is not a plain path: write it without \".\", \"..\" and empty parts")
		case len(part) > maxName:
			return fmt.Errorf("has a name of more than %d characters", maxName)
		case strings.HasPrefix(part, ".") || strings.HasPrefix(part, "-"):
			return errors.New("begins with \".\" or \"-\"")
		case strings.HasSuffix(part, "."):
			return errors.New("ends with \".\", which FAT can't hold")
		case strings.ContainsFunc(part, func(r rune) bool { return !nameRune(r) }):
			return errors.New("contains characters other than letters, digits and . _ - + = @ ,")
		}
	}
	return nil
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+=@,", r)
}

// inTree returns the name in a bundle of a path that a config names; not ok if it is outside.
func inTree(name string) (string, bool) {
	rel, ok := strings.CutPrefix(name, etcDir+"/")
	return rel, ok && rel != ""
}
