package provision

import (
	"io/fs"
	"path"
	"strings"

	"anymx/edge/config"
)

// Groups of files, besides those of the programs' own users.
const (
	everyProgram = "anymx"           // all programs of a node
	networkd     = "systemd-network" // systemd-networkd
)

// item is a file to be installed.
type item struct {
	name  string // in the bundle
	at    string // its name in the target folder
	mode  fs.FileMode
	group string // "": root
	data  []byte
}

// plan says which file of a bundle goes where. It does no I/O. cfg is nil for an invalid bundle:
// then only the network files are installed.
type plan struct {
	config  []item            // below configDir
	secrets []item            // below secretDir
	network []item            // below networkDir
	folders map[string]string // of config: their groups
	routes  bool              // the config has a section [bgp]
}

func planOf(t Bundle, cfg *config.Config) plan {
	p := plan{folders: map[string]string{}, routes: cfg != nil && cfg.BGP != nil}
	groups := map[string]string{}
	if cfg != nil {
		for _, u := range usesOf(cfg) {
			if name, ok := inTree(u.path); ok && (u.secret() || u.why == certificateKey) {
				groups[name] = u.program()
			}
		}
	}
	for _, name := range t.Names() {
		it := item{name: name, at: name, mode: 0o640, group: everyProgram, data: t.Files[name]}
		first, rest, _ := strings.Cut(name, "/")
		switch {
		case first == networkIn:
			it.at, it.mode, it.group = rest, 0o644, ""
			if path.Ext(name) == ".netdev" { // it may contain keys
				it.mode, it.group = 0o640, networkd
			}
			p.network = append(p.network, it)
		case cfg == nil:
		case first == secretsIn:
			it.at, it.mode, it.group = rest, 0o600, ""
			p.secrets = append(p.secrets, it)
		default:
			if program, ok := groups[name]; ok {
				it.group = program
			}
			if first == "tls" && rest != "" {
				it.group = "anymx-edge"
			}
			p.config = append(p.config, it)
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				p.folders[dir] = everyProgram
				if strings.SplitN(dir, "/", 2)[0] == "tls" {
					p.folders[dir] = "anymx-edge"
				}
			}
		}
	}
	return p
}
