package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

// versions is the result of version as JSON.
type versions struct {
	Anymx api.Version  `json:"anymx"`
	Node  *api.Version `json:"node,omitempty"` // absent if it does not answer
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show the version of this program and of the node",
		Long:    "Version shows what this program was built from and, if a node answers, what the node was.",
		Example: "  anymx version\n  anymx version --json | jq -r .node.version",
		Args:    noArgs,
		RunE:    p.local(func(cmd *cobra.Command, _ []string) error { return p.version(cmd.Context()) }),
	}
}

// version prints both versions. It omits the node's if there is no answer within a second.
func (p *program) version(ctx context.Context) error {
	v := versions{Anymx: api.ThisVersion()}
	if c, err := p.client(); err == nil {
		defer c.Close()
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if node, err := c.Version(ctx); err == nil {
			v.Node = &node
		}
	}
	return p.print(v, func(w io.Writer) error {
		text := fmt.Sprintf("anymx  %s\n", v.Anymx)
		if v.Node != nil {
			text += fmt.Sprintf("node   %s\n", words.Clean(v.Node.String()))
		}
		_, err := io.WriteString(w, text)
		return err
	})
}
