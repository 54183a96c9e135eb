package spool

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// BeginProof starts a message that shows that messages can be stored, and is
// never mail. It is committed, loaded and removed like any other. But marks that
// refuse mail do not refuse it, for they say nothing of whether storage works;
// it stands in no figure, Each does not give it, and Open forgets what a crash
// has left of one. It should be short. BeginProof returns *Full with
// ReasonEngine when storage has failed or hangs, and ErrClosed.
func (s *Spool) BeginProof() (*Draft, error) {
	if err := s.working(); err != nil {
		return nil, err
	}
	return &Draft{s: s, id: s.nextID(), buf: newBuffer(firstBuffer), proof: true}, nil
}

// working is nil unless storage has failed, hangs, or is closed.
func (s *Spool) working() error {
	if s.closed.Load() {
		return ErrClosed
	}
	if err := s.engine.trouble(); err != nil {
		return &Full{Reason: ReasonEngine, Cause: err}
	}
	if f := s.ledger.hangs.Load(); f != nil {
		return f
	}
	return nil
}

// dropProofs forgets proofs that were not removed before a crash. recoverBodies removes their files.
func (s *Spool) dropProofs(gone []removal) error {
	if len(gone) == 0 {
		return nil
	}
	return s.engine.run(func() error {
		batch := s.engine.db.NewBatch()
		defer batch.Close()
		for i := range gone {
			erase(batch, &gone[i])
		}
		if err := batch.Commit(pebble.Sync); err != nil { // as each record of the log is: see audit
			return fmt.Errorf("proofs of an earlier run: %w", err)
		}
		return nil
	})
}
