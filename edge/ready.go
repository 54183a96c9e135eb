package edge

import (
	"context"
	"errors"

	"anymx/edge/spool"
)

// Ready is nil while the node is in service, has passed its self-test, its storage works,
// and nobody has to look at its spool. A spool that is full of mail which waits for core does not make it
// unready: senders are told to come back (452), and the routes stay. Core is
// shared, so its absence would withdraw one node after the other, each with the
// load of those before it; and a node that is withdrawn at the mark falls below it
// at once, and would come and go.
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
		if s := n.spool.Stats(); !backlogged(full, &s) {
			return err
		}
	} else if err != nil {
		return err
	}
	return n.spool.Probe(ctx)
}

// backlogged says whether it is mail on its way to core that fills the spool: a
// mark for that is reached, or the disk would have room enough without it.
func backlogged(full *spool.Full, s *spool.Stats) bool {
	switch full.Reason {
	case spool.ReasonHighWater, spool.ReasonMessages:
		return true
	case spool.ReasonReserve:
		return s.DiskFree+s.Bytes >= 2*s.DiskReserve
	}
	return false
}
