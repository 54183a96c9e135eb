package control

import (
	"context"
	"net/http"

	"anymx/edge/operate/api"
)

// Prove has the node send itself a message through each of its listeners.
func (c *Client) Prove(ctx context.Context) (api.Proven, error) {
	var p api.Proven
	return p, c.do(ctx, http.MethodPost, "/v1/prove", nil, &p)
}

func (s *Server) postProve(r *http.Request) (any, error) {
	proven, err := s.node.Prove(r.Context())
	s.endpoint.Audit(r, err, "action", "prove", "listeners", len(proven.Listeners))
	if err != nil {
		return nil, &api.Error{Code: api.Unavailable, Text: "not proven: " + err.Error()}
	}
	if proven.Listeners == nil {
		proven.Listeners = []api.ProvenListener{} // for programs, not null
	}
	return proven, nil
}
