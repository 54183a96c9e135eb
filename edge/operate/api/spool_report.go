package api

// SpoolReport is the result of a spool check. Sizes are in bytes.
type SpoolReport struct {
	Dir      string   `json:"dir"`
	Open     bool     `json:"open"`               // by a running node, which made the report
	Problems []string `json:"problems,omitempty"` // why the node does not open it, or is not ready
	Warnings []string `json:"warnings,omitempty"`

	Messages     int64    `json:"messages"` // with an envelope
	Bytes        int64    `json:"bytes"`    // of their bodies
	BodyFiles    int64    `json:"body_files"`
	BodyBytes    int64    `json:"body_bytes"`
	Damaged      int64    `json:"damaged"`       // bodies that are missing or differ from what was stored
	Orphans      int64    `json:"orphans"`       // body files without envelope
	OrphanBytes  int64    `json:"orphan_bytes"`  // of them
	Lost         int64    `json:"lost"`          // orphans whose messages had been accepted
	UnknownFiles int64    `json:"unknown_files"` // files that are not ours
	Aside        []string `json:"aside,omitempty"`
}

// Sound reports whether the spool has no problem.
func (r *SpoolReport) Sound() bool { return len(r.Problems) == 0 && r.Damaged == 0 && r.Lost == 0 }

// SpoolAside is the answer to a request to set aside the spool, or its damaged part.
type SpoolAside struct {
	To string `json:"to"` // the folder; "": there was nothing to move
}

// SpoolMessage is one exported message.
type SpoolMessage struct {
	ID         string `json:"id"`
	Bytes      int64  `json:"bytes"`
	NoEnvelope bool   `json:"no_envelope,omitempty"`
	Problem    string `json:"problem,omitempty"` // why it is incomplete
}

// SpoolExport is the result of an export.
type SpoolExport struct {
	To       []string `json:"to"`       // folders on the node; none: there was nothing to export
	Messages int64    `json:"messages"` // with envelope and body
	Orphans  int64    `json:"orphans"`  // bodies without envelope
	Damaged  int64    `json:"damaged"`  // with an incomplete envelope or body
	Bytes    int64    `json:"bytes"`
	Problems []string `json:"problems,omitempty"` // what could not be read at all
}

// Whole reports whether the export is complete.
func (e *SpoolExport) Whole() bool { return e.Damaged == 0 && len(e.Problems) == 0 }
