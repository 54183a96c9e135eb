package control

import (
	"context"
	"net/http"
)

// SpeakerClient asks anymx-bgp over its control socket, as a Client asks the
// node.
type SpeakerClient struct{ asker }

// NewSpeakerClient makes a SpeakerClient of the speaker whose socket is at path.
// It does not connect yet.
func NewSpeakerClient(path string) *SpeakerClient {
	return &SpeakerClient{newAsker(path, "anymx-bgp")}
}

// Status asks what the speaker does.
func (c *SpeakerClient) Status(ctx context.Context) (SpeakerStatus, error) {
	var s SpeakerStatus
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Order tells the speaker what may be announced. Its answer does not wait for
// peers to confirm.
func (c *SpeakerClient) Order(ctx context.Context, o Order) (SpeakerStatus, error) {
	var s SpeakerStatus
	return s, c.do(ctx, http.MethodPost, "/v1/order", o, &s)
}

// NetworkClient asks anymx-net over its control socket, as a Client asks the
// node.
type NetworkClient struct{ asker }

// NewNetworkClient makes a NetworkClient of the program whose socket is at path.
// It does not connect yet.
func NewNetworkClient(path string) *NetworkClient {
	return &NetworkClient{newAsker(path, "anymx-net")}
}

// Status asks what anymx-net does.
func (c *NetworkClient) Status(ctx context.Context) (NetworkStatus, error) {
	var s NetworkStatus
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}
