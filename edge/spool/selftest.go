package spool

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// BeginSelfTest starts a message that tests whether messages can be stored, and is never delivered.
// It is committed, loaded and removed like any other. But limits don't apply to it, because they
// say nothing about whether storage works; no metric counts it, Each skips it, and Open removes
// what a crash has left of one. It should be short. BeginSelfTest returns *Full with ReasonEngine
// if storage has failed or hangs, and ErrClosed.
func (s *Spool) BeginSelfTest() (*Draft, error) {
	if err := s.working(); err != nil {
		return nil, err
	}
	return &Draft{s: s, id: s.nextID(), buf: newBuffer(firstBuffer), selfTest: true}, nil
}

// working returns nil unless storage has failed, hangs, or is closed.
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

// dropSelfTests removes self-tests that were left by a crash. recoverBodies removes their files.
func (s *Spool) dropSelfTests(gone []removal) error {
	if len(gone) == 0 {
		return nil
	}
	return s.engine.run(func() error {
		batch := s.engine.db.NewBatch()
		defer batch.Close()
		for i := range gone {
			erase(batch, &gone[i])
		}
		if err := batch.Commit(pebble.Sync); err != nil { // like each record of the log: see audit
			return fmt.Errorf("self-tests of an earlier run: %w", err)
		}
		return nil
	})
}
