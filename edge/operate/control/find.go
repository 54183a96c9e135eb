package control

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pelletier/go-toml/v2"

	"anymx/edge/config"
)

// Sockets holds the paths of the control sockets of the node's programs.
type Sockets struct {
	Node    string
	Speaker string // "": no speaker is configured
	Network string // of anymx-net
}

// SocketsOf reads the paths of the node's control sockets from its config file. Nothing else in the
// file has to be valid, so that a node can still be queried while its next config is being written.
// A file that does not exist, or may not be read, gives the default sockets of the node and of
// anymx-net, unless must is set.
func SocketsOf(file string, must bool) (Sockets, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		if !must && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
			return Sockets{Node: standardSocket, Network: standardNetworkSocket}, nil
		}
		return Sockets{}, fmt.Errorf("config: %w", err)
	}
	s, err := socketsIn(text)
	if err != nil {
		return Sockets{}, fmt.Errorf("where the node's socket is can't be read from %s (%w): give it by --control, and see `anymx check %s`",
			file, err, file)
	}
	return s, nil
}

// The sockets if the config names none. The speaker's is the one that package config gives a [bgp]
// section.
var (
	standardSocket        = config.Default().Node.Control
	standardNetworkSocket = config.Default().Net.Control
	standardSpeakerSocket = "/run/anymx/bgp.sock"
)

// socketsIn finds the sockets in the text of a config.
func socketsIn(text []byte) (Sockets, error) {
	type section struct {
		Control string `toml:"control"`
	}
	var c struct {
		Node section  `toml:"node"`
		BGP  *section `toml:"bgp"`
		Net  section  `toml:"net"`
	}
	err := toml.Unmarshal(text, &c)
	s := Sockets{Node: cmp.Or(c.Node.Control, standardSocket), Network: cmp.Or(c.Net.Control, standardNetworkSocket)}
	if c.BGP != nil {
		s.Speaker = cmp.Or(c.BGP.Control, standardSpeakerSocket)
	}
	return s, err
}
