package control

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"

	"anymx/edge/operate/api"
)

// SpeakerClient sends requests to anymx-bgp over its control socket, as a Client does to the node.
type SpeakerClient struct{ asker }

// NewSpeakerClient returns a SpeakerClient of the speaker whose socket is at path. It does not
// connect yet.
func NewSpeakerClient(path string) *SpeakerClient {
	return &SpeakerClient{newAsker(path, "anymx-bgp")}
}

// Status returns the speaker's status.
func (c *SpeakerClient) Status(ctx context.Context) (api.SpeakerStatus, error) {
	var s api.SpeakerStatus
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// SetDesired sets what the speaker may announce. It does not wait for peers to confirm.
func (c *SpeakerClient) SetDesired(ctx context.Context, o api.DesiredState) (api.SpeakerStatus, error) {
	var s api.SpeakerStatus
	return s, c.do(ctx, http.MethodPost, "/v1/desired", o, &s)
}

// NetworkClient sends requests to anymx-net over its control socket, as a Client does to the node.
type NetworkClient struct{ asker }

// NewNetworkClient returns a NetworkClient of the program whose socket is at path. It does not
// connect yet.
func NewNetworkClient(path string) *NetworkClient {
	return &NetworkClient{newAsker(path, "anymx-net")}
}

// Status returns the status of anymx-net.
func (c *NetworkClient) Status(ctx context.Context) (api.NetworkStatus, error) {
	var s api.NetworkStatus
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// ShieldTop returns the n noisiest prefixes, and the n that opened the most connections.
func (c *NetworkClient) ShieldTop(ctx context.Context, n int) (api.ShieldTop, error) {
	var t api.ShieldTop
	err := c.do(ctx, http.MethodGet, "/v1/shield/top?n="+strconv.Itoa(n), nil, &t)
	return t, err
}

// ShieldLists returns all entries of the block and the allow list.
func (c *NetworkClient) ShieldLists(ctx context.Context) ([]api.ShieldEntry, error) {
	var l api.ShieldLists
	err := c.do(ctx, http.MethodGet, "/v1/shield/lists", nil, &l)
	return l.Entries, err
}

// ShieldList adds a prefix to a list, and returns the entry as stored.
func (c *NetworkClient) ShieldList(ctx context.Context, e api.ShieldEntry) (api.ShieldEntry, error) {
	var listed api.ShieldEntry
	err := c.do(ctx, http.MethodPost, "/v1/shield/list", e, &listed)
	return listed, err
}

// ShieldUnlist removes the entry of exactly this prefix. It reports whether there was one.
func (c *NetworkClient) ShieldUnlist(ctx context.Context, p netip.Prefix) (bool, error) {
	var u api.ShieldUnlisted
	err := c.do(ctx, http.MethodPost, "/v1/shield/unlist", api.ShieldUnlist{Prefix: p}, &u)
	return u.Removed, err
}

// ShieldMode changes the mode of the shield, and returns the resulting status.
func (c *NetworkClient) ShieldMode(ctx context.Context, m api.ShieldMode) (api.NetworkStatus, error) {
	var s api.NetworkStatus
	err := c.do(ctx, http.MethodPost, "/v1/shield/mode", m, &s)
	return s, err
}
