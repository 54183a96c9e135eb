package spool

// Stats is the status of the spool. Sizes are in bytes.
type Stats struct {
	Messages    int64  `json:"messages"`
	Bytes       int64  `json:"bytes"`
	Drafts      int64  `json:"drafts"`       // messages being received
	DraftBytes  int64  `json:"draft_bytes"`  // of them on the disk
	MemoryBytes int64  `json:"memory_bytes"` // of bodies kept for their first attempt
	DiskFree    int64  `json:"disk_free"`
	DiskReserve int64  `json:"disk_reserve"` // limits: 0 for none
	HighWater   int64  `json:"high_water"`
	MaxMessages int64  `json:"max_messages"`
	Refusing    string `json:"refusing,omitempty"` // why no message is accepted; "" while they are

	Attention    string `json:"attention,omitempty"` // why the operator has to act; "" if there is no reason
	Damaged      int64  `json:"damaged"`             // bodies found damaged at the start
	Orphans      int64  `json:"orphans"`             // body files without envelope that are kept
	OrphanBytes  int64  `json:"orphan_bytes"`
	UnknownFiles int64  `json:"unknown_files"` // unknown files in the bodies directory, at the start

	Engine EngineStats `json:"engine"` // zero when closed or failed
}

// EngineStats is the status of the engine. Sizes are in bytes.
type EngineStats struct {
	Tables    int64 `json:"tables"` // on disk, of envelopes, states and keys
	Bodies    int64 `json:"bodies"` // on disk, of short bodies that outlived their memtable
	Memtables int64 `json:"memtables"`
	Log       int64 `json:"log"` // on disk, files kept for reuse included

	LogWritten        int64 `json:"log_written"` // since the start, as the next two
	FlushWritten      int64 `json:"flush_written"`
	CompactionWritten int64 `json:"compaction_written"`
	Compactions       int64 `json:"compactions"`
	Levels0           int64 `json:"levels0"` // overlapping tables that a read may have to search
}

// Stats returns the status of the spool. It also works after Close and after a failure.
func (s *Spool) Stats() Stats {
	l := &s.ledger
	st := Stats{
		Messages: l.messages.Load(), Bytes: l.bytes.Load(), Drafts: l.drafts.Load(), DraftBytes: l.inFlight.Load(), MemoryBytes: l.memory.Load(),
		DiskFree: max(l.left(), 0), DiskReserve: l.reserve, HighWater: l.highWater, MaxMessages: l.maxMessages,
		Damaged: s.damagedBodies.Load(), Orphans: s.orphans.files.Load(), OrphanBytes: s.orphans.bytes.Load(), UnknownFiles: s.strange,
	}
	if err := s.accepting(); err != nil {
		st.Refusing = err.Error()
	}
	if err := s.Attention(); err != nil {
		st.Attention = err.Error()
	}
	st.Engine, _ = s.engineStats()
	return st
}

func (s *Spool) engineStats() (EngineStats, bool) {
	if err := s.reading(); err != nil {
		return EngineStats{}, false
	}
	defer s.readers.done()
	if s.engine.err() != nil {
		return EngineStats{}, false
	}
	m := s.engine.db.Metrics()
	st := EngineStats{
		Bodies:      int64(m.BlobFiles.LiveSize),
		Memtables:   int64(m.MemTable.Size),
		Log:         int64(m.WAL.PhysicalSize + m.WAL.ObsoletePhysicalSize),
		LogWritten:  int64(m.WAL.BytesWritten),
		Compactions: m.Compact.Count,
		Levels0:     int64(m.Levels[0].Sublevels),
	}
	for i := range m.Levels {
		l := &m.Levels[i]
		st.Tables += l.TablesSize
		st.FlushWritten += int64(l.TableBytesFlushed + l.BlobBytesFlushed)
		// The engine counts the blobs of a flush in both figures.
		st.CompactionWritten += int64(l.TableBytesCompacted + l.BlobBytesCompacted - min(l.BlobBytesFlushed, l.BlobBytesCompacted))
	}
	return st, true
}
