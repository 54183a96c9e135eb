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

// Names in a tree.
const (
	configFile = "anymx.toml"
	secretsIn  = "credentials"
	networkIn  = "network"
	ownFolder  = "anymx" // of a file system that holds other things too
)

// Limits of a tree, in octets unless said otherwise. /run is memory.
const (
	maxConfig  = 16 << 20 // as package config has it
	maxFile    = 64 << 20 // a list of recipients or of prefixes
	maxSecret  = 1 << 20  // what systemd takes as one credential
	maxNetwork = 64 << 10
	maxTotal   = 96 << 20
	maxFiles   = 10_000 // number
	maxListed  = 1000   // files of one folder
	maxDepth   = 6      // folders
	maxName    = 100    // of one file or folder
	maxNotes   = 10     // files that are noted as not taken
)

// Tree is a config with what belongs to it, in memory. Names are paths below its
// top, with slashes: "tls/cert.pem".
type Tree struct {
	// Files are those that were taken.
	Files map[string][]byte
	// Faults says of files that should have been taken why they could not be.
	Faults map[string]error
	// Unused are files that nothing names, which stay where they are: the first few,
	// for a misspelt name is easily overlooked.
	Unused []string
}

// Size is the size of all files, in octets.
func (t *Tree) Size() int64 {
	var n int64
	for _, data := range t.Files {
		n += int64(len(data))
	}
	return n
}

// Names are those of all files, sorted, anymx.toml first.
func (t *Tree) Names() []string {
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

// Secret says whether what is in a file of a tree is nobody's business.
func Secret(name string) bool {
	return strings.HasPrefix(name, secretsIn+"/") || strings.HasSuffix(name, ".netdev") ||
		strings.Contains(path.Base(name), "key") || strings.Contains(path.Base(name), "psk")
}

// folder is where a tree is read from: an opened directory or the members of a
// tar. Names are as in Tree; "" is the top.
type folder interface {
	// read returns a regular file of at most `most` octets. The error wraps
	// fs.ErrNotExist if there is none.
	read(name string, most int64) ([]byte, error)
	// list names what is in a folder, sorted: folders with a slash at the end. It
	// names at most `most`; more are an error that wraps errTooMany. A folder that is
	// not there is empty.
	list(name string, most int) ([]string, error)
}

var (
	errNoConfig = errors.New("no " + configFile)
	errTooMany  = errors.New("too many files")
	errTooLarge = errors.New("too large")
)

// collect reads the tree in f: anymx.toml, what it names, and the two folders that
// have a meaning. The error is errNoConfig, or one of reading anymx.toml.
func collect(f folder) (Tree, error) {
	c := collector{from: f, tree: Tree{Files: map[string][]byte{}, Faults: map[string]error{}}}
	text, err := f.read(configFile, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return c.tree, errNoConfig
	}
	if err != nil {
		return c.tree, fmt.Errorf("%s: %w", configFile, err)
	}
	c.add(configFile, text)
	folders := map[string]bool{"": true}
	if cfg, err := config.Parse(configFile, text); err == nil { // Check says what is wrong with it
		for _, u := range usesOf(cfg) {
			if name, ok := inTree(u.path); ok {
				c.take(name, u.most())
				folders[path.Dir(name)] = true
			}
		}
	}
	c.folder(secretsIn, maxSecret)
	c.folder(networkIn, maxNetwork)
	delete(folders, ".")
	c.lookForUnused(folders)
	return c.tree, nil
}

type collector struct {
	from  folder
	tree  Tree
	total int64
}

// take reads one file. That it is not there is for Check to say, which knows who
// asked for it.
func (c *collector) take(name string, most int64) {
	if c.tree.Files[name] != nil || c.tree.Faults[name] != nil {
		return
	}
	err := CheckName(name)
	if err == nil && len(c.tree.Files) >= maxFiles {
		err = fmt.Errorf("%w: a tree has at most %d", errTooMany, maxFiles)
	}
	var data []byte
	if err == nil {
		data, err = c.from.read(name, most)
	}
	if err == nil && c.total+int64(len(data)) > maxTotal {
		err = fmt.Errorf("%w: a tree has at most %s", errTooLarge, config.Size(maxTotal))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		c.tree.Faults[name] = err
	default:
		c.add(name, data)
	}
}

func (c *collector) add(name string, data []byte) {
	if data == nil {
		data = []byte{}
	}
	c.tree.Files[name] = data
	c.total += int64(len(data))
}

// folder takes all files of one folder, except hidden ones.
func (c *collector) folder(name string, most int64) {
	names, err := c.from.list(name, maxListed)
	if err != nil {
		c.tree.Faults[name] = err
		return
	}
	for _, n := range names {
		if n = path.Join(name, n); !hidden(n) {
			c.take(n, most)
		}
	}
}

// lookForUnused notes the first few files beside those that were taken. It is no
// more than a service: what can't be listed is not looked at.
func (c *collector) lookForUnused(folders map[string]bool) {
	for _, dir := range sorted(folders) {
		if dir == secretsIn || dir == networkIn {
			continue
		}
		names, _ := c.from.list(dir, maxListed)
		for _, n := range names {
			name := path.Join(dir, n)
			if strings.HasSuffix(n, "/") || hidden(name) || c.tree.Files[name] != nil || c.tree.Faults[name] != nil {
				continue
			}
			if len(c.tree.Unused) == maxNotes {
				return
			}
			c.tree.Unused = append(c.tree.Unused, name)
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

// hidden says whether a file is one of those that desktops leave behind.
func hidden(name string) bool {
	base := path.Base(name)
	return strings.HasPrefix(base, ".") || strings.HasSuffix(base, "~")
}

// CheckName says what is wrong with the name of a file in a tree. Names are such
// that every file system can hold them, and that no path leads out of the tree.
func CheckName(name string) error {
	parts := strings.Split(name, "/")
	if len(parts) > maxDepth {
		return fmt.Errorf("lies more than %d folders deep", maxDepth-1)
	}
	for _, part := range parts {
		switch {
		case part == "" || part == "." || part == "..":
			return errors.New("is no plain path: write it without \".\", \"..\" and empty parts")
		case len(part) > maxName:
			return fmt.Errorf("has a name of more than %d characters", maxName)
		case strings.HasPrefix(part, ".") || strings.HasPrefix(part, "-"):
			return errors.New("begins with \".\" or \"-\"")
		case strings.HasSuffix(part, "."):
			return errors.New("ends with \".\", which FAT can't hold")
		case strings.ContainsFunc(part, func(r rune) bool { return !nameRune(r) }):
			return errors.New("has other characters than letters, digits and . _ - + = @ ,")
		}
	}
	return nil
}

func nameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-+=@,", r)
}

// inTree is the name in a tree of a path that a config names; not ok if it is
// none of a tree.
func inTree(name string) (string, bool) {
	rel, ok := strings.CutPrefix(name, etcDir+"/")
	return rel, ok && rel != ""
}
