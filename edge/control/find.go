package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pelletier/go-toml/v2"

	"anymx/edge/config"
)

// Sockets are where the programs of a node answer.
type Sockets struct {
	Node    string
	Speaker string // "": no speaker is configured
}

// SocketsOf reads where the node's control sockets are from its config file.
// Nothing else of the file has to be right, so that a node can still be asked
// while its next config is being written. A file that does not exist, or may
// not be read, gives the default socket of the node alone, unless must is set.
func SocketsOf(file string, must bool) (Sockets, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		if !must && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
			return Sockets{Node: standardSocket}, nil
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

// The sockets where the config names none. The speaker's is the one that package
// config gives a [bgp] section.
var (
	standardSocket        = config.Default().Node.Control
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
	}
	err := toml.Unmarshal(text, &c)
	s := Sockets{Node: c.Node.Control}
	if s.Node == "" {
		s.Node = standardSocket
	}
	if c.BGP != nil {
		s.Speaker = c.BGP.Control
		if s.Speaker == "" {
			s.Speaker = standardSpeakerSocket
		}
	}
	return s, err
}
