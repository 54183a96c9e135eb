package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/control"
)

const defaultConfig = "/etc/anymx/anymx.toml"

const rootHelp = `anymx shows what a node does and changes it, over the node's control socket.

The socket is the one given by --control, else by ANYMX_CONTROL in the
environment, else the one that the config file names (--config).

Exit codes:
  0    done; the answer is yes
  1    the answer is no, or the node could not do it
  2    wrong usage
  3    no node answers on the socket
  4    no message with that id
  130  interrupted`

// program is one run of the command line and what it touches.
type program struct {
	in          io.Reader
	out, errOut io.Writer
	getenv      func(string) string
	now         func() time.Time
	terminal    func() bool // is in a person?

	socket, config string
	json           bool
	configGiven    func() bool
	running        bool // a command has begun, so the command line was good
}

// command is the body of a cobra command.
type command func(cmd *cobra.Command, args []string) error

// local is a command that needs no node.
func (p *program) local(do command) command {
	return func(cmd *cobra.Command, args []string) error {
		p.running = true
		return do(cmd, args)
	}
}

// remote is a command that asks the node.
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

// client finds the node's socket.
func (p *program) client() (*control.Client, error) {
	if p.socket != "" {
		return control.NewClient(p.socket), nil
	}
	if socket := p.getenv("ANYMX_CONTROL"); socket != "" {
		return control.NewClient(socket), nil
	}
	socket, err := control.SocketOf(p.config, p.configGiven())
	if err != nil {
		return nil, &usageError{err}
	}
	return control.NewClient(socket), nil
}

// print writes value as JSON if that was asked for, else by text.
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
