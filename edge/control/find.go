package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pelletier/go-toml/v2"

	"anymx/edge/config"
)

// SocketOf reads where the node's control socket is from its config file.
// Nothing else of the file has to be right, so that a node can still be asked
// while its next config is being written. A file that does not exist, or may
// not be read, gives the default socket, unless must is set.
func SocketOf(file string, must bool) (string, error) {
	standard := config.Default().Node.Control
	text, err := os.ReadFile(file)
	if err != nil {
		if !must && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)) {
			return standard, nil
		}
		return "", fmt.Errorf("config: %w", err)
	}
	socket, err := socketIn(text)
	if err != nil {
		return "", fmt.Errorf("where the node's socket is can't be read from %s (%w): give it by --control, and see `anymx check %s`",
			file, err, file)
	}
	if socket == "" {
		return standard, nil
	}
	return socket, nil
}

// socketIn finds node.control in the text of a config; "" if it is not there.
func socketIn(text []byte) (string, error) {
	var c struct {
		Node struct {
			Control string `toml:"control"`
		} `toml:"node"`
	}
	err := toml.Unmarshal(text, &c)
	return c.Node.Control, err
}
