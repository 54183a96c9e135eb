package control

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"net/http"
	"strconv"

	"anymx/edge/mail"
	"anymx/edge/operate/api"
)

// Client sends requests to a node over its control socket. Errors are *Unreachable if there was no
// answer, *api.Error if the node refused, or the error of ctx. It is safe for concurrent use.
type Client struct{ asker }

// NewClient returns a Client of the node whose socket is at path. It does not connect yet.
func NewClient(path string) *Client { return &Client{newAsker(path, "")} }

// Status returns the node's status.
func (c *Client) Status(ctx context.Context) (api.Status, error) {
	var s api.Status
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Version returns what the node was built from.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	var v api.Version
	return v, c.do(ctx, http.MethodGet, "/v1/version", nil, &v)
}

// Reload makes the node read its config, certificates and lists again. If anything in them is
// invalid nothing changes, and the *api.Error holds the problems.
func (c *Client) Reload(ctx context.Context) (api.Reloaded, error) {
	var r api.Reloaded
	return r, c.do(ctx, http.MethodPost, "/v1/reload", nil, &r)
}

// Drain begins to take the node out of service, or speeds up a drain under way, or makes it
// permanent. It does not wait for the end: call Status.
func (c *Client) Drain(ctx context.Context, r api.DrainRequest) (api.Status, error) {
	var s api.Status
	return s, c.do(ctx, http.MethodPost, "/v1/drain", r, &s)
}

// Resume takes the node back into service.
func (c *Client) Resume(ctx context.Context) (api.Status, error) {
	var s api.Status
	return s, c.do(ctx, http.MethodPost, "/v1/resume", nil, &s)
}

// Page returns one page of the queue.
func (c *Client) Page(ctx context.Context, q api.QueueQuery) (api.QueuePage, error) {
	var p api.QueuePage
	return p, c.do(ctx, http.MethodGet, "/v1/queue?"+q.Values().Encode(), nil, &p)
}

// Summary returns what is in the queue by destination, at most limit of them; 0: api.DefaultRows.
func (c *Client) Summary(ctx context.Context, limit int) (api.QueueSummary, error) {
	var s api.QueueSummary
	path := "/v1/queue/summary"
	if limit > 0 {
		path += "?limit=" + strconv.Itoa(limit)
	}
	return s, c.do(ctx, http.MethodGet, path, nil, &s)
}

// Messages iterates over all messages that q selects, from q.After on, page by page: q.Limit is the
// page size. It ends after the first error.
func (c *Client) Messages(ctx context.Context, q api.QueueQuery) iter.Seq2[api.QueueItem, error] {
	return func(yield func(api.QueueItem, error) bool) {
		for {
			page, err := c.Page(ctx, q)
			if err != nil {
				yield(api.QueueItem{}, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if err := advance(&q.After, page.Next); err != nil {
				yield(api.QueueItem{}, err)
				return
			}
			if page.Next.IsZero() {
				return
			}
		}
	}
}

// Count counts all messages that q selects.
func (c *Client) Count(ctx context.Context, q api.QueueQuery) (n int64, err error) {
	q.Limit = api.MaxPage
	for _, err := range c.Messages(ctx, q) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Message returns all that the node knows of one message.
func (c *Client) Message(ctx context.Context, id mail.ID) (api.QueueDetail, error) {
	var d api.QueueDetail
	return d, c.do(ctx, http.MethodGet, "/v1/queue/"+id.String(), nil, &d)
}

// Change acts on messages: those of ch.IDs, in as many requests as needed, or page by page on all
// that ch selects. It yields each part of the result when it arrives, and ends after the first
// error; the parts before that are done.
func (c *Client) Change(ctx context.Context, a api.Action, ch api.Change) iter.Seq2[api.Changed, error] {
	return func(yield func(api.Changed, error) bool) {
		ids := ch.IDs
		for {
			if !ch.All {
				n := min(len(ids), api.MaxPage)
				ch.IDs, ids = ids[:n], ids[n:]
			}
			var part api.Changed
			err := c.do(ctx, http.MethodPost, "/v1/queue/"+string(a), ch, &part)
			if err == nil && ch.All {
				err = advance(&ch.After, part.Next)
			}
			if !yield(part, err) || err != nil {
				return
			}
			if ch.All && part.Next.IsZero() || !ch.All && len(ids) == 0 {
				return
			}
		}
	}
}

// advance moves after to next. A page that does not advance would be requested forever.
func advance(after *mail.ID, next mail.ID) error {
	if !next.IsZero() && bytes.Compare(next[:], after[:]) <= 0 {
		return fmt.Errorf("the node's page after %s leads back to %s", after, next)
	}
	*after = next
	return nil
}
