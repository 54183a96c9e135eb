package edge

import (
	"context"
	"errors"

	"anymx/edge/spool"
)

// Ready returns nil while the node is in service, has passed its self-test, its storage works, and
// its spool needs no attention. A spool full of mail that waits for core does not make it unready:
// senders get a temporary error (452), and the routes stay. All nodes share core, so withdrawing in
// its absence would take down one node after the other, each with the load of those before it; and
// a node withdrawn at its high-water mark would fall below it at once, and flap.
func (n *Node) Ready(ctx context.Context) error {
	if err := n.drain.Accepting(); err != nil {
		return err
	}
	if err := n.selfTest.Passed(); err != nil {
		return err
	}
	if err := n.spool.Attention(); err != nil {
		return err
	}
	var full *spool.Full
	if err := n.spool.Accepting(); errors.As(err, &full) {
		if s := n.spool.Stats(); !full.Backlogged(&s) {
			return err
		}
	} else if err != nil {
		return err
	}
	return n.spool.Probe(ctx)
}
