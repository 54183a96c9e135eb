package control

import (
	"anymx/edge/operate/api"
	"context"
	"net/http"
)

// SelfTest makes the node send itself a message through each of its listeners.
func (c *Client) SelfTest(ctx context.Context) (api.SelfTest, error) {
	var r api.SelfTest
	return r, c.do(ctx, http.MethodPost, "/v1/self-test", nil, &r)
}

func (s *Server) postSelfTest(r *http.Request) (any, error) {
	report, err := s.node.SelfTest(r.Context())
	s.endpoint.Audit(r, err, "action", "self-test", "listeners", len(report.Listeners))
	if err != nil {
		return nil, &api.Error{Code: api.Unavailable, Text: "the self-test failed: " + err.Error()}
	}
	if report.Listeners == nil {
		report.Listeners = []api.SelfTestListener{} // JSON [], not null
	}
	return report, nil
}
