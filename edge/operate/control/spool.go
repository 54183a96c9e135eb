package control

import (
	"context"
	"encoding/json"
	"net/http"

	"anymx/edge/operate/api"
)

// spoolLine is a line of the answer to an export: a message, or at the end the result.
type spoolLine struct {
	api.SpoolMessage
	Export *api.SpoolExport `json:"export,omitempty"`
}

func (s *Server) getSpool(r *http.Request) (any, error) { return s.node.CheckSpool(r.Context()) }

func (s *Server) postSpoolAside(r *http.Request) (any, error) {
	to, err := s.node.SetSpoolAside(r.Context())
	s.endpoint.Audit(r, err, "action", "spool set-aside", "to", to)
	if err != nil {
		return nil, err
	}
	s.endpoint.ready.forget()
	return api.SpoolAside{To: to}, nil
}

func (s *Server) postSpoolExport(r *http.Request, send func(any) error) error {
	export, err := s.node.ExportSpool(context.WithoutCancel(r.Context()), func(m api.SpoolMessage) {
		_ = send(spoolLine{SpoolMessage: m}) // fails only if the client is gone
	})
	s.endpoint.Audit(r, err, "action", "spool export", "to", export.To)
	if err != nil {
		return err
	}
	return send(spoolLine{Export: &export})
}

// Spool returns what is in the spool, and whether it is sound.
func (c *Client) Spool(ctx context.Context) (api.SpoolReport, error) {
	var r api.SpoolReport
	return r, c.do(ctx, http.MethodGet, "/v1/spool", nil, &r)
}

// SetSpoolAside makes the node move a spool that it refused to open, or the orphans of its open
// one, to a folder beside it.
func (c *Client) SetSpoolAside(ctx context.Context) (api.SpoolAside, error) {
	var a api.SpoolAside
	return a, c.do(ctx, http.MethodPost, "/v1/spool/set-aside", nil, &a)
}

// ExportSpool makes the node write the messages of what was set aside, and of a spool that it
// refused to open, to folders beside the spool. each is called after each message. There is no time
// limit.
func (c *Client) ExportSpool(ctx context.Context, each func(api.SpoolMessage)) (api.SpoolExport, error) {
	var export *api.SpoolExport
	err := c.lines(ctx, "/v1/spool/export", nil, 0, func(text []byte) (more bool, err error) {
		var line struct {
			spoolLine
			api.Error
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
		return api.SpoolExport{}, err
	}
	return *export, nil
}
