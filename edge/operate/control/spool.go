package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// SpoolReport is what a look at a spool has found. Sizes are in bytes.
type SpoolReport struct {
	Dir      string   `json:"dir"`
	Open     bool     `json:"open"`               // by a running node, which made the report
	Problems []string `json:"problems,omitempty"` // why the node does not open it, or is not ready
	Warnings []string `json:"warnings,omitempty"`

	Messages    int64    `json:"messages"` // with an envelope
	Bytes       int64    `json:"bytes"`    // of their bodies
	BodyFiles   int64    `json:"body_files"`
	BodyBytes   int64    `json:"body_bytes"`
	Damaged     int64    `json:"damaged"`      // bodies that are missing or not as they were stored
	Orphans     int64    `json:"orphans"`      // body files without envelope
	OrphanBytes int64    `json:"orphan_bytes"` // of them
	Lost        int64    `json:"lost"`         // of the orphans: those that had been acknowledged
	Strange     int64    `json:"strange"`      // files that are none of ours
	Aside       []string `json:"aside,omitempty"`
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

// spoolLine is a line of the answer to an export: a message, or at its end what was written.
type spoolLine struct {
	SpoolMessage
	Export *SpoolExport `json:"export,omitempty"`
}

// WriteText writes r as people read it.
func (r *SpoolReport) WriteText(w io.Writer) error {
	by := "no node has it open"
	if r.Open {
		by = "the node has it open"
	}
	verdict := "sound"
	if !r.Sound() {
		verdict = "NOT sound"
	}
	lines := []line{{Text: fmt.Sprintf("%s is %s; %s", Clean(r.Dir), verdict, by)}}
	add := func(wrong bool, format string, args ...any) {
		lines = append(lines, line{Text: fmt.Sprintf(format, args...), Wrong: wrong})
	}
	for _, p := range r.Problems {
		add(true, "%s", Clean(p))
	}
	for _, p := range r.Warnings {
		add(false, "%s", Clean(p))
	}
	add(false, "%s, %s", counted(r.Messages, "message"), size(r.Bytes))
	add(false, "%s, %s", counted(r.BodyFiles, "body file"), size(r.BodyBytes))
	if r.Damaged > 0 {
		add(true, "%s: body missing or not as it was stored", counted(r.Damaged, "damaged message"))
	}
	if r.Orphans > 0 {
		add(r.Lost > 0, "%s without an envelope, %s: %s acknowledged, %s", counted(r.Orphans, "body file"), size(r.OrphanBytes),
			count(r.Lost), counted(r.Orphans-r.Lost, "draft"))
	}
	if r.Strange > 0 {
		add(false, "%s among the bodies, left alone", counted(r.Strange, "unknown file"))
	}
	for _, dir := range r.Aside {
		add(false, "set aside: %s", Clean(dir))
	}
	for _, l := range lines {
		mark := "  "
		if l.Wrong {
			mark = "! "
		}
		if _, err := fmt.Fprintf(w, "%s%s\n", mark, l.Text); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) getSpool(r *http.Request) (any, error) { return s.node.CheckSpool(r.Context()) }

func (s *Server) postSpoolAside(r *http.Request) (any, error) {
	to, err := s.node.SetSpoolAside(r.Context())
	s.endpoint.Audit(r, err, "action", "spool set-aside", "to", to)
	if err != nil {
		return nil, err
	}
	s.endpoint.ready.forget()
	return SpoolAside{To: to}, nil
}

func (s *Server) postSpoolExport(r *http.Request, send func(any) error) error {
	export, err := s.node.ExportSpool(context.WithoutCancel(r.Context()), func(m SpoolMessage) {
		_ = send(spoolLine{SpoolMessage: m}) // nobody listens any more, then
	})
	s.endpoint.Audit(r, err, "action", "spool export", "to", export.To)
	if err != nil {
		return err
	}
	return send(spoolLine{Export: &export})
}

// Spool asks what is in the spool, and whether it is sound.
func (c *Client) Spool(ctx context.Context) (SpoolReport, error) {
	var r SpoolReport
	return r, c.do(ctx, http.MethodGet, "/v1/spool", nil, &r)
}

// SetSpoolAside has the node move a spool that it does not open, or the orphans of the one that it
// has open, to a folder beside it.
func (c *Client) SetSpoolAside(ctx context.Context) (SpoolAside, error) {
	var a SpoolAside
	return a, c.do(ctx, http.MethodPost, "/v1/spool/set-aside", nil, &a)
}

// ExportSpool has the node write the messages of what was set aside, and of a spool that it does not
// open, to folders beside the spool. each is called after each message. There is no limit in time.
func (c *Client) ExportSpool(ctx context.Context, each func(SpoolMessage)) (SpoolExport, error) {
	var export *SpoolExport
	err := c.lines(ctx, "/v1/spool/export", nil, 0, func(text []byte) (more bool, err error) {
		var line struct {
			spoolLine
			Error
		}
		if err := json.Unmarshal(text, &line); err != nil {
			return false, unspoken(err)
		}
		switch {
		case line.Code != "":
			return false, &line.Error
		case line.Export != nil:
			export = line.Export
			return false, nil
		}
		each(line.SpoolMessage)
		return true, nil
	})
	if err != nil {
		return SpoolExport{}, err
	}
	return *export, nil
}
