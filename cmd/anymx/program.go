package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

const defaultConfig = "/etc/anymx/anymx.toml"

const rootHelp = `anymx shows what a node does and changes it, over the node's control socket.

The node's control socket is, in this order: --control, the one that --config
names, ANYMX_CONTROL in the environment, the one that the default config names.
The commands of 'shield' ask anymx-net: on the socket that the same config
names, or else on net.sock in the folder of the node's socket.

Exit codes:
  0    done; the answer is yes
  1    the answer is no, or the node could not do it
  2    wrong usage
  3    no node answers on the socket
  4    no message with that id, no such prefix on the shield's lists
  130  interrupted`

// program is one run of the command line and its environment.
type program struct {
	in          io.Reader
	out, errOut io.Writer
	getenv      func(string) string
	now         func() time.Time
	terminal    func() bool // whether in is a terminal
	colors      func() bool // whether out is a terminal with colors; nil: it is not
	// screen returns the size of the terminal on errOut; ok is false if it is not one.
	screen func() (columns, rows int, ok bool)
	// poll is the polling interval while a command waits for the node.
	poll time.Duration

	socket, config string
	json, noColor  bool
	configGiven    func() bool
	running        bool // a command has begun, so the command line was valid
}

// command is the body of a cobra command.
type command func(cmd *cobra.Command, args []string) error

// local wraps a command that needs no node.
func (p *program) local(do command) command {
	return func(cmd *cobra.Command, args []string) error {
		p.running = true
		return do(cmd, args)
	}
}

// remote wraps a command that queries the node.
func (p *program) remote(do func(cmd *cobra.Command, args []string, c *control.Client) error) command {
	return p.local(func(cmd *cobra.Command, args []string) error {
		c, err := p.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return do(cmd, args, c)
	})
}

// network wraps a command that queries anymx-net.
func (p *program) network(do func(cmd *cobra.Command, args []string, c *control.NetworkClient) error) command {
	return p.local(func(cmd *cobra.Command, args []string) error {
		s, err := p.sockets()
		if err != nil {
			return err
		}
		c := control.NewNetworkClient(s.Network)
		defer c.Close()
		err = do(cmd, args, c)
		if errors.Is(err, api.ErrNotFound) { // only the shield can be missing here
			return errors.New(err.Error())
		}
		return err
	})
}

// client returns a client of the node.
func (p *program) client() (*control.Client, error) {
	s, err := p.sockets()
	if err != nil {
		return nil, err
	}
	return control.NewClient(s.Node), nil
}

// networkSocket is the name of the socket of anymx-net in the folder of the node's, unless a config
// says otherwise.
const networkSocket = "net.sock"

// sockets finds the node and its anymx-net and, if the config is known to belong to the same node,
// its speaker.
func (p *program) sockets() (control.Sockets, error) {
	given := p.socket
	if given == "" && !p.configGiven() { // a flag wins over the environment
		given = p.getenv("ANYMX_CONTROL")
	}
	s, err := control.SocketsOf(p.config, p.configGiven())
	switch {
	case given == "" && err != nil:
		return s, &usageError{err}
	case given == "":
		return s, nil
	case err != nil || s.Node != given && !p.configGiven():
		s.Speaker, s.Network = "", filepath.Join(filepath.Dir(given), networkSocket)
	}
	s.Node = given
	return s, nil
}

// print writes value as JSON if --json was given, otherwise with text.
func (p *program) print(value any, text func(io.Writer) error) error {
	if !p.json {
		return text(p.out)
	}
	b, err := encode(value, "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.out, "%s\n", b)
	return err
}
