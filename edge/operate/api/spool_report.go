package api

// SpoolReport is what a look at a spool has found. Sizes are in bytes.
type SpoolReport struct {
	Dir      string   `json:"dir"`
	Open     bool     `json:"open"`               // by a running node, which made the report
	Problems []string `json:"problems,omitempty"` // why the node does not open it, or is not ready
	Warnings []string `json:"warnings,omitempty"`

	Messages     int64    `json:"messages"` // with an envelope
	Bytes        int64    `json:"bytes"`    // of their bodies
	BodyFiles    int64    `json:"body_files"`
	BodyBytes    int64    `json:"body_bytes"`
	Damaged      int64    `json:"damaged"`       // bodies that are missing or not as they were stored
	Orphans      int64    `json:"orphans"`       // body files without envelope
	OrphanBytes  int64    `json:"orphan_bytes"`  // of them
	Lost         int64    `json:"lost"`          // of the orphans: those that had been acknowledged
	UnknownFiles int64    `json:"unknown_files"` // files that are none of ours
	Aside        []string `json:"aside,omitempty"`
}

// Sound says whether nothing is wrong.
func (r *SpoolReport) Sound() bool { return len(r.Problems) == 0 && r.Damaged == 0 && r.Lost == 0 }

// SpoolAside is the answer to a request to set the spool, or what is wrong in it, aside.
type SpoolAside struct {
	To string `json:"to"` // the folder; "": there was nothing to be moved
}

// SpoolMessage is one message that an export wrote.
type SpoolMessage struct {
	ID         string `json:"id"`
	Bytes      int64  `json:"bytes"`
	NoEnvelope bool   `json:"no_envelope,omitempty"`
	Problem    string `json:"problem,omitempty"` // why it is not whole
}

// SpoolExport is what an export wrote.
type SpoolExport struct {
	To       []string `json:"to"`       // folders on the node; none: there was nothing to be exported
	Messages int64    `json:"messages"` // with envelope and body
	Orphans  int64    `json:"orphans"`  // bodies without envelope
	Damaged  int64    `json:"damaged"`  // whose envelope or body is not whole
	Bytes    int64    `json:"bytes"`
	Problems []string `json:"problems,omitempty"` // what could not be read at all
}

// Whole says whether nothing was missing.
func (e *SpoolExport) Whole() bool { return e.Damaged == 0 && len(e.Problems) == 0 }
