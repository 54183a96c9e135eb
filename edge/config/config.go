// Package config turns the one TOML file of a node into plain structs.
//
// What happens to the data:
//
//  1. The text becomes a tree in which each key and value knows its line and column (document.go).
//  2. Its values are set in structs that already hold the defaults, so that an absent key keeps its
//     default and a key that is present, even as 0, replaces it (decode.go).
//  3. The structs are checked: each key by itself, by the tags of its field (check.go, schema.go), then
//     keys against each other (validate.go).
//  4. Every problem is reported at once, in the order of the file, each with file,
//     line, key and reason (errors.go).
//
// A Config that Parse or Load returned is complete and valid, and is never written to again: it can
// be shared without a lock. A reload parses the file again and compares the two (change.go).
//
// A key is written once: its field's name, tags and doc comment are all that the parser, the checks,
// docs/config.md and its JSON Schema are made of.
//
// Only Load does I/O. Nothing here reads a clock, an environment variable or another file: whether
// a certificate or a key file exists is checked by the part that opens it.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxFile bounds what Load reads, in bytes, so that a wrong path (a device, a log, a mailbox) is
// an error and not a full memory. A node with 100,000 domains needs about 5 MB.
const maxFile = 16 << 20

// Config is the whole file of one node. Every program of the node reads the same file and takes
// from it what it needs.
type Config struct {
	// Node says who this node is and where it keeps its state.
	Node Node `toml:"node"`
	// Ingress is the public SMTP side.
	Ingress Ingress `toml:"ingress"`
	// Domains are the domains whose mail is accepted, in the order of the file. Empty: every
	// recipient is refused.
	Domains []Domain `toml:"domain"`
	// Core is where accepted mail is handed over to, unless the recipient's domain names one of Cores.
	Core Core `toml:"core"`
	// Cores are the core groups by name, [core.NAME]; nil: there are none. Each is complete: what a
	// group doesn't set has the value of Core, but for the addresses, which are its own.
	Cores map[string]Core `toml:"-" groups:"core"`
	// Spool limits what is stored and not yet delivered.
	Spool Spool `toml:"spool"`
	// Queue says when delivery is tried again, and when it is given up.
	Queue Queue `toml:"queue"`
	// Log says what the programs write to their standard error.
	Log Log `toml:"log"`
	// Console is the prompt on the machine's own screen and serial line.
	Console Console `toml:"console"`
	// Mailstore is the embedded core, anymx-core; nil: this is not its file.
	Mailstore *Mailstore `toml:"mailstore" change:"restart"`
	// Tunnel is the WireGuard tunnel to core; nil: core is reached directly.
	Tunnel *Tunnel `toml:"tunnel" change:"restart"`
	// Anycast holds the service addresses and the prefixes that are announced for them.
	Anycast Anycast `toml:"anycast"`
	// BGP is the speaker; nil: nothing is announced.
	BGP *BGP `toml:"bgp" change:"restart"`
	// Drain says how long each step of a drain takes.
	Drain Drain `toml:"drain"`
	// Net is anymx-net.
	Net Net `toml:"net"`
	// Egress is the way out to the world.
	Egress Egress `toml:"egress"`
	// Shield is the packet filter in front of ingress; nil: none is loaded.
	Shield *Shield `toml:"shield" change:"restart"`
}

// Default returns the config of an empty file. It is not valid yet: a node's name, its host name
// and the addresses of core have no default.
func Default() Config {
	return defaultOf[Config]()
}

// Load reads the file at path and parses it as Parse does. An error that is not an *Errors comes
// from the file system and can be tested with errors.Is(err, fs.ErrNotExist) and the like.
func Load(path string, need ...string) (*Config, error) {
	c, _, err := Check(path, need...)
	return c, err
}

// Check loads a file as Load does, and returns warnings too: what is valid, and probably not meant.
func Check(path string, need ...string) (c *Config, warnings []Problem, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, nil, fmt.Errorf("config: %w", err)
	}
	if len(data) > maxFile {
		return nil, nil, fmt.Errorf("config: %s is larger than %s: not a config file", path, Size(maxFile))
	}
	return parse(path, data, need)
}

// Parse reads the text of a config file. name is the file's name in every message. need
// lists sections that the caller requires, such as "bgp" for the speaker: an absent one is a problem
// like any other.
//
// The error, if any, is an *Errors with every problem of the file; the Config is nil then.
func Parse(name string, data []byte, need ...string) (*Config, error) {
	c, _, err := parse(name, data, need)
	return c, err
}

// parse returns warnings besides, which a config with problems has none of.
func parse(name string, data []byte, need []string) (*Config, []Problem, error) {
	tree, problems := readDocument(data)
	if tree == nil {
		return nil, nil, newErrors(name, problems)
	}

	c := Default()
	d := newDecoder(problems)
	d.document(tree, &c)
	for _, section := range need {
		if tree.table[section] == nil {
			d.report(section, "missing: this program needs a [%s] section", section)
		}
	}

	c.normalise()
	v := checker{Config: &c, report: d.report, faulty: d.faulty}
	v.all()

	if len(d.problems) > 0 {
		return nil, nil, newErrors(name, d.problems)
	}
	c.warn(d.report)
	return &c, newErrors(name, d.problems).Problems, nil
}

// normalise brings what has several spellings into one, so that parts can compare with ==.
func (c *Config) normalise() {
	c.Node.Hostname = strings.ToLower(c.Node.Hostname)
	for i := range c.Domains {
		c.Domains[i].Name = strings.ToLower(c.Domains[i].Name)
	}
}

// Validate checks a config that was made in code rather than parsed. The error, if any, is an
// *Errors; its problems carry neither file nor line. Every Config that Parse returns is valid.
func (c *Config) Validate() error {
	var problems []Problem
	faulty := map[string]bool{}
	v := checker{Config: c, faulty: faulty, report: func(key, format string, args ...any) {
		for k := key; k != ""; k = parent(k) {
			if faulty[k] {
				return
			}
		}
		faulty[key] = true
		problems = append(problems, Problem{Key: key, Reason: fmt.Sprintf(format, args...)})
	}}
	v.all()
	if len(problems) > 0 {
		return newErrors("", problems)
	}
	return nil
}
