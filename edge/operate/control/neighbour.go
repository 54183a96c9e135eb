package control

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"

	"anymx/edge/operate/api"
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
func (c *SpeakerClient) Status(ctx context.Context) (api.SpeakerStatus, error) {
	var s api.SpeakerStatus
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// SetDesired tells the speaker what may be announced. Its answer does not wait for
// peers to confirm.
func (c *SpeakerClient) SetDesired(ctx context.Context, o api.DesiredState) (api.SpeakerStatus, error) {
	var s api.SpeakerStatus
	return s, c.do(ctx, http.MethodPost, "/v1/desired", o, &s)
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
func (c *NetworkClient) Status(ctx context.Context) (api.NetworkStatus, error) {
	var s api.NetworkStatus
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// ShieldTop asks for the n prefixes that are noisiest, and the n that opened the
// most connections.
func (c *NetworkClient) ShieldTop(ctx context.Context, n int) (api.ShieldTop, error) {
	var t api.ShieldTop
	err := c.do(ctx, http.MethodGet, "/v1/shield/top?n="+strconv.Itoa(n), nil, &t)
	return t, err
}

// ShieldLists asks for all that is on the block and the allow list.
func (c *NetworkClient) ShieldLists(ctx context.Context) ([]api.ShieldEntry, error) {
	var l api.ShieldLists
	err := c.do(ctx, http.MethodGet, "/v1/shield/lists", nil, &l)
	return l.Entries, err
}

// ShieldList puts a prefix on a list, and returns how it stands there.
func (c *NetworkClient) ShieldList(ctx context.Context, e api.ShieldEntry) (api.ShieldEntry, error) {
	var listed api.ShieldEntry
	err := c.do(ctx, http.MethodPost, "/v1/shield/list", e, &listed)
	return listed, err
}

// ShieldUnlist takes this same prefix off its list. It returns whether it was on
// one.
func (c *NetworkClient) ShieldUnlist(ctx context.Context, p netip.Prefix) (bool, error) {
	var u api.ShieldUnlisted
	err := c.do(ctx, http.MethodPost, "/v1/shield/unlist", api.ShieldUnlist{Prefix: p}, &u)
	return u.Removed, err
}

// ShieldMode makes the shield run in another mode, and returns what came of it.
func (c *NetworkClient) ShieldMode(ctx context.Context, m api.ShieldMode) (api.NetworkStatus, error) {
	var s api.NetworkStatus
	err := c.do(ctx, http.MethodPost, "/v1/shield/mode", m, &s)
	return s, err
}
