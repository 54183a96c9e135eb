package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"anymx/edge/mail"
)

// watch checks disk and committer once a second, and frees disk space if the engine holds much more
// than its messages need.
func (s *Spool) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var reclaimed chan struct{} // not nil while space is being freed
	next, prune := time.Now().Add(reclaimEvery), time.Now().Add(pruneEvery)
	for {
		select {
		case <-ctx.Done():
			if reclaimed != nil {
				<-reclaimed
			}
			return
		case <-reclaimed:
			reclaimed, next = nil, time.Now().Add(reclaimEvery)
		case now := <-tick.C:
			s.checkHealth(now)
			if now.After(prune) {
				prune = now.Add(pruneEvery)
				if err := s.pruneOrphans(); err != nil {
					s.options.Log.Warn("spool: old drafts could not be removed", "err", err)
				}
			}
			if reclaimed != nil || now.Before(next) {
				continue
			}
			if next = now.Add(reclaimEvery); s.wasteful() {
				reclaimed = make(chan struct{})
				go func() {
					defer close(reclaimed)
					s.reclaim(ctx)
				}()
			}
		}
	}
}

// pruneEvery is how often old drafts are removed.
const pruneEvery = time.Hour

// checkHealth checks the free space, and how long the current commit takes.
func (s *Spool) checkHealth(now time.Time) {
	if err := s.checkDisk(); err != nil {
		s.metrics.errors.disk.Inc()
		if !s.blind.Swap(true) {
			s.options.Log.Warn("spool: free space could not be read, using the last value", "err", err)
		}
	} else {
		s.blind.Store(false)
	}
	took := s.committer.busy(now)
	switch was := s.ledger.hangs.Load(); {
	case took > stuckAfter && was == nil:
		err := fmt.Errorf("a commit has taken %v so far", took.Round(time.Second))
		s.ledger.hangs.Store(&Full{Reason: ReasonEngine, Cause: err})
		s.options.Log.Error("spool: no longer accepts messages", "err", err)
	case took <= stuckAfter && was != nil:
		s.ledger.hangs.Store(nil)
		s.options.Log.Info("spool: commits continue")
	}
}

// checkDisk reads the free space. An error is ignored if there is no DiskReserve.
func (s *Spool) checkDisk() error {
	free, err := s.options.DiskFree(s.options.Dir)
	switch {
	case err == nil:
		s.ledger.setFree(free)
	case s.options.DiskReserve > 0:
		return fmt.Errorf("free space: %w", err)
	}
	return nil
}

// When space is freed explicitly: removed messages are only tombstones in the engine's memory until
// new messages push them out, and after a node has delivered its backlog there may be no new
// messages for a long time.
const (
	reclaimEvery = 30 * time.Second
	reclaimFrom  = 256 << 20 // bytes of waste
)

// wasteful reports whether the engine takes much more of the disk than its messages would.
func (s *Spool) wasteful() bool {
	if s.engine.err() != nil {
		return false
	}
	live := s.ledger.bytes.Load() - s.ledger.inFiles.Load()
	waste := s.engine.usage() - live
	return waste > reclaimFrom && waste > live
}

func (s *Spool) reclaim(ctx context.Context) {
	before := s.engine.usage()
	if err := s.engine.run(func() error { return s.engine.reclaim(ctx) }); err != nil {
		if ctx.Err() == nil {
			s.options.Log.Warn("spool: disk space could not be freed", "err", err)
		}
		return
	}
	s.options.Log.Info("spool: freed disk space", "bytes", before-s.engine.usage())
}

// Probe stores a record and a file, reads them back and removes them: nil means that storage works,
// whatever the limits say. It returns ctx's error if that ends first. One probe runs at a time:
// others wait until their ctx ends.
func (s *Spool) Probe(ctx context.Context) error {
	if err := s.reading(); err != nil {
		return err
	}
	select {
	case s.probing <- struct{}{}:
	case <-ctx.Done():
		s.readers.done()
		return fmt.Errorf("spool probe: the previous one has not returned: %w", ctx.Err())
	}
	result := make(chan error, 1)
	s.wait.Go(func() {
		defer s.readers.done()
		defer func() { <-s.probing }()
		result <- s.probe()
	})
	var err error
	select {
	case err = <-result:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("spool probe: %w", err)
	}
	return nil
}

func (s *Spool) probe() error {
	if err := s.engine.trouble(); err != nil {
		return err
	}
	id := s.nextID()
	want := id.AppendTo(nil)
	if err := s.committer.commit(&change{probe: probeSet, id: id, envelope: want}); err != nil {
		return err
	}
	k := key(keyProbe, id)
	err := s.engine.get(k[:], func(v []byte) error { return same(v, want) })
	err = errors.Join(err, s.committer.commit(&change{probe: probeErase, id: id}))
	return errors.Join(err, s.probeFile(id, want))
}

// probeFile writes and syncs a body file as Commit does, and reads it back.
func (s *Spool) probeFile(id mail.ID, want []byte) error {
	f, err := s.bodies.create(id)
	if err != nil {
		return err
	}
	defer f.discard()
	if err := f.write(want); err != nil {
		return err
	}
	if err := f.seal(); err != nil {
		return err
	}
	r, err := s.bodies.open(id)
	if err != nil {
		return err
	}
	got := make([]byte, len(want)+1)
	n, err := r.Read(got)
	return errors.Join(err, same(got[:n], want), r.Close())
}

func same(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("probe read %q, want %q: %w", got, want, ErrDamaged)
	}
	return nil
}

// probeStep is what a change does with the probe's key.
type probeStep uint8

const (
	noProbe probeStep = iota
	probeSet
	probeErase
)

// writeProbe adds a step of a probe to b.
func writeProbe(b *pebble.Batch, c *change) {
	if c.probe == probeSet {
		set(b, keyProbe, c.id, c.envelope)
	} else {
		single(b, keyProbe, c.id)
	}
}
