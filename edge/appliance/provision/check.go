package provision

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"anymx/edge/config"
	"anymx/edge/judge/policy"
)

// CheckOptions are the inputs of Check besides a bundle.
type CheckOptions struct {
	Now time.Time // for expired certificates; zero: none has expired
	// Credential returns a systemd credential that the node gets from elsewhere; nil: there are
	// none.
	Credential func(name string) ([]byte, bool)
	// Elsewhere means that the node gets its credentials elsewhere, where they can't be checked: a
	// missing one is a note, not a problem.
	Elsewhere bool
}

// Checked is the result of Check.
type Checked struct {
	Problems []config.Problem // in the order of anymx.toml
	// Alone are the Problems that only affect the purpose of one file: the programs start without
	// it.
	Alone  []config.Problem
	Notes  []string
	Config *config.Config // nil if anymx.toml is not valid
}

// startable reports whether the programs of a node start with the bundle as it is.
func (c *Checked) startable() bool { return c.Config != nil && len(c.Alone) == len(c.Problems) }

// Check returns what is wrong with a bundle, as the programs of a node would find when they start,
// and what an appliance does not support. It does no I/O. Its texts contain nothing of a secret.
func Check(t Bundle, o CheckOptions) Checked {
	c := checker{bundle: t, options: o, text: t.Files[configFile]}
	cfg, err := config.Parse(configFile, c.text, "core") // the one section that all nodes need
	var bad *config.Errors
	switch {
	case errors.As(err, &bad):
		c.out.Problems = bad.Problems
	case err != nil:
		c.out.Problems = []config.Problem{{File: configFile, Reason: err.Error()}}
	}
	if cfg != nil {
		c.out.Config = cfg
		c.places(cfg)
		before := len(c.out.Problems)
		for _, u := range usesOf(cfg) {
			c.use(u)
		}
		c.pair(cfg)
		c.out.Alone = slices.Clone(c.out.Problems[before:])
		if cfg.BGP == nil {
			c.note("there is no [bgp] section: the node takes mail and announces nothing")
		}
	}
	c.credentials(cfg)
	c.network()
	c.same()
	for _, name := range t.Unused {
		if cfg == nil {
			break // what it names is unknown
		}
		c.note("%s is not used: nothing in %s names it", name, configFile)
	}
	slices.SortStableFunc(c.out.Problems, func(a, b config.Problem) int {
		if (a.File == configFile) != (b.File == configFile) {
			return map[bool]int{true: -1, false: 1}[a.File == configFile]
		}
		return a.Line - b.Line
	})
	return c.out
}

type checker struct {
	bundle  Bundle
	options CheckOptions
	text    []byte // of anymx.toml
	out     Checked
}

// problem adds one at a key of anymx.toml; value is the key's value.
func (c *checker) problem(key, value, format string, args ...any) {
	c.out.Problems = append(c.out.Problems, config.Problem{
		File: configFile, Line: lineOf(c.text, key, value), Key: key, Reason: fmt.Sprintf(format, args...),
	})
}

// fault adds a problem of a file in the bundle.
func (c *checker) fault(name, format string, args ...any) {
	c.out.Problems = append(c.out.Problems, config.Problem{File: name, Line: 1, Reason: fmt.Sprintf(format, args...)})
}

func (c *checker) note(format string, args ...any) {
	c.out.Notes = append(c.out.Notes, fmt.Sprintf(format, args...))
}

// places checks the paths that are fixed on an appliance: its root is read-only, and the units of
// the programs open a few folders only.
func (c *checker) places(cfg *config.Config) {
	if dir := cfg.Node.StateDir; dir != "/var/lib/anymx" {
		c.problem("node.state_dir", dir, "an appliance uses /var/lib/anymx; remove the key")
	}
	sockets := []struct{ key, path, want string }{{"node.control", cfg.Node.Control, "edge.sock"}, {"net.control", cfg.Net.Control, "net.sock"}}
	if cfg.BGP != nil {
		sockets = append(sockets, struct{ key, path, want string }{"bgp.control", cfg.BGP.Control, "bgp.sock"})
	}
	for _, s := range sockets {
		if path.Dir(s.path) != "/run/anymx" {
			c.problem(s.key, s.path, "an appliance has its sockets in /run/anymx; remove the key, or write /run/anymx/%s", s.want)
		}
	}
}

// use checks one file or credential that the config names.
func (c *checker) use(u use) {
	if name, ok := strings.CutPrefix(u.path, "credential:"); ok {
		c.credential(u, name)
		return
	}
	name, ok := inTree(u.path)
	if !ok {
		c.problem(u.key, u.path, "is not below %s: a node has only the files of its config bundle; put the file there and name it %s/...", etcDir, etcDir)
		return
	}
	if err := CheckName(name); err != nil {
		c.problem(u.key, u.path, "the path %s", err)
		return
	}
	if first, _, _ := strings.Cut(name, "/"); first == secretsIn || first == networkIn {
		c.problem(u.key, u.path, "the folder %s is not copied to %s%s", first, etcDir, adviceFor(u, name))
		return
	}
	if err := c.bundle.Faults[name]; err != nil {
		c.problem(u.key, u.path, "%s: %s", name, err)
		return
	}
	data, ok := c.bundle.Files[name]
	if !ok {
		c.problem(u.key, u.path, "%s is missing beside %s", name, configFile)
		return
	}
	c.content(u, name, data)
}

// adviceFor explains how a secret is named instead.
func adviceFor(u use, name string) string {
	if u.secret() && path.Dir(name) == secretsIn {
		return fmt.Sprintf("; write \"credential:%s\"", path.Base(name))
	}
	return ""
}

// content checks the content of a file.
func (c *checker) content(u use, name string, data []byte) {
	switch u.why {
	case recipients:
		if _, err := policy.ParseRecipients(name, data, u.domain); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				file, rest, _ := strings.Cut(line, ":")
				number, reason, ok := strings.Cut(rest, ": ")
				n := 0
				if _, err := fmt.Sscan(number, &n); err != nil || !ok {
					file, n, reason = name, 1, line
				}
				c.out.Problems = append(c.out.Problems, config.Problem{File: file, Line: n, Reason: reason})
			}
		}
	case prefixList:
		if !utf8.Valid(data) {
			c.problem(u.key, u.path, "%s is not a text file", name)
		}
	case wireguardKey, shieldKey, password:
		if err := checkSecret(u.why, data); err != nil {
			c.problem(u.key, u.path, "%s %s", name, err)
		}
	}
}

// credential checks a secret that systemd passes to a unit.
func (c *checker) credential(u use, name string) {
	if !strings.HasPrefix(name, u.prefix()) {
		c.problem(u.key, u.path, "%s gets only credentials whose name begins with %q: call it %q", u.program(), u.prefix(), u.prefix()+name)
		return
	}
	// systemd prefers what the machine was given over what is in its store.
	if c.options.Credential != nil {
		if data, ok := c.options.Credential(name); ok {
			if err := checkSecret(u.why, data); err != nil {
				c.problem(u.key, u.path, "the system credential %s %s", name, err)
			} else if c.bundle.Files[secretsIn+"/"+name] != nil {
				c.note("the credential %s was also given to the system, which takes precedence over %s/%s", name, secretsIn, name)
			}
			return
		}
	}
	file := secretsIn + "/" + name
	data, ok := c.bundle.Files[file]
	switch {
	case c.bundle.Faults[file] != nil:
		c.problem(u.key, u.path, "%s: %s", file, c.bundle.Faults[file])
	case ok:
		if err := checkSecret(u.why, data); err != nil {
			c.problem(u.key, u.path, "%s %s", file, err)
		}
	case c.options.Elsewhere:
		c.note("the credential %s (%s) is not in the bundle: the node must get it elsewhere", name, u.key)
	case c.options.Credential == nil:
		c.problem(u.key, u.path, "%s is missing in the bundle", file)
	default:
		c.problem(u.key, u.path, "%s is missing in the bundle, and the node has no credential %s", file, name)
	}
}

// Requirements of secrets, as in the programs that read them.
const (
	minShieldKey = 16 // bytes
	maxShieldKey = 1024
	maxPassword  = 80
)

// checkSecret returns what is wrong with the content of a secret, and shows none of it.
func checkSecret(why purpose, data []byte) error {
	if line, ok := bytes.CutSuffix(data, []byte("\n")); ok {
		data = bytes.TrimSuffix(line, []byte("\r"))
	}
	var key config.PublicKey // which has the same length in the same base64
	switch {
	case len(data) == 0:
		return errors.New("is empty")
	case why == wireguardKey && (key.UnmarshalText(data) != nil || key == config.PublicKey{}):
		return errors.New("is not a WireGuard key: it must be exactly the 44 characters of base64 that `wg genkey` or `wg genpsk` prints")
	case why == shieldKey && len(data) < minShieldKey:
		return fmt.Errorf("holds less than %d bytes", minShieldKey)
	case why == shieldKey && len(data) > maxShieldKey:
		return fmt.Errorf("holds more than %d bytes", maxShieldKey)
	case why == password && len(data) > maxPassword:
		return fmt.Errorf("holds more than %d bytes", maxPassword)
	}
	return nil
}

// pair checks that certificate and key belong together.
func (c *checker) pair(cfg *config.Config) {
	in := &cfg.Ingress
	certName, _ := inTree(in.TLSCert)
	keyName, _ := inTree(in.TLSKey)
	cert, key := c.bundle.Files[certName], c.bundle.Files[keyName]
	if in.TLSCert == "" || cert == nil || key == nil {
		return
	}
	pair, err := tls.X509KeyPair(cert, key)
	switch {
	case err != nil:
		c.problem("ingress.tls_cert", in.TLSCert, "%s and %s: %s", certName, keyName, err)
	case pair.Leaf != nil && !c.options.Now.IsZero() && c.options.Now.After(pair.Leaf.NotAfter):
		c.note("%s expired on %s: senders that check certificates will not deliver", certName, pair.Leaf.NotAfter.Format("2006-01-02"))
	case pair.Leaf != nil && !c.options.Now.IsZero() && c.options.Now.Before(pair.Leaf.NotBefore):
		c.note("%s is valid from %s only, or the clock of this machine is wrong", certName, pair.Leaf.NotBefore.Format("2006-01-02"))
	}
}

// credentials checks the secrets in the bundle.
func (c *checker) credentials(cfg *config.Config) {
	if err := c.bundle.Faults[secretsIn]; err != nil {
		c.fault(secretsIn, "%s", err)
	}
	named := map[string]bool{}
	if cfg != nil {
		for _, u := range usesOf(cfg) {
			name, _ := strings.CutPrefix(u.path, "credential:")
			named[name] = true
		}
	}
	for _, file := range c.in(secretsIn) {
		name := path.Base(file)
		switch err := c.bundle.Faults[file]; {
		case named[name]: // checked
		case err != nil:
			c.fault(file, "%s", err)
		case !imported(name):
			c.fault(file, "no program reads a credential of this name: it must begin with %s", strings.Join(prefixes, ", "))
		case cfg != nil:
			c.note("%s is not used: nothing in %s names \"credential:%s\"", file, configFile, name)
		}
	}
}

// network checks the files for systemd-networkd, as far as that is possible without it.
func (c *checker) network() {
	if err := c.bundle.Faults[networkIn]; err != nil {
		c.fault(networkIn, "%s", err)
	}
	for _, file := range c.in(networkIn) {
		data := c.bundle.Files[file]
		switch err := c.bundle.Faults[file]; {
		case err != nil:
			c.fault(file, "%s", err)
		case !slices.Contains([]string{".network", ".netdev", ".link"}, path.Ext(file)):
			c.fault(file, "systemd-networkd reads only *.network, *.netdev and *.link")
		case !utf8.Valid(data) || bytes.ContainsRune(data, 0):
			c.fault(file, "is not a text file")
		case path.Ext(file) != ".netdev" && !hasSection(data, "Match"):
			c.fault(file, "has no [Match] section: it would match every interface")
		case path.Ext(file) == ".netdev" && !hasSection(data, "NetDev"):
			c.fault(file, "has no [NetDev] section")
		}
	}
}

func hasSection(data []byte, name string) bool {
	for line := range bytes.Lines(data) {
		if string(bytes.TrimSpace(line)) == "["+name+"]" {
			return true
		}
	}
	return false
}

// in returns the files and faults in a folder of the bundle, sorted.
func (c *checker) in(dir string) []string {
	set := map[string]bool{}
	for name := range c.bundle.Files {
		set[name] = true
	}
	for name := range c.bundle.Faults {
		set[name] = true
	}
	return slices.DeleteFunc(sorted(set), func(name string) bool { return path.Dir(name) != dir })
}

// same refuses two names that are the same on FAT.
func (c *checker) same() {
	first := map[string]string{}
	for _, name := range c.bundle.Names() {
		folded := strings.ToLower(name)
		if other, twice := first[folded]; twice {
			c.fault(name, "differs from %s in case only: the ESP can't store both", other)
		}
		first[folded] = name
	}
}

// lineOf returns the line, from 1, on which key has value in the text of a config. For a default,
// it returns the line of the key's section, or 1.
func lineOf(text []byte, key, value string) int {
	name := key[strings.LastIndexByte(key, '.')+1:]
	section, _, _ := strings.Cut(key, "[")
	if section == key {
		section = key[:max(0, strings.LastIndexByte(key, '.'))]
	}
	n, at := 0, 1
	for line := range bytes.Lines(text) {
		n++
		trimmed := string(bytes.TrimSpace(line))
		if strings.Trim(trimmed, "[] ") == section && strings.HasPrefix(trimmed, "[") {
			at = n
		}
		if !strings.HasPrefix(trimmed, "#") && strings.Contains(trimmed, name) && value != "" && strings.Contains(trimmed, value) {
			return n
		}
	}
	return at
}
