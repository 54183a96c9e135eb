package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"anymx/edge/mail"
)

// clientTimeout bounds one request, so that a node which hangs is an error and
// not a wait: longer than the server's own bound.
var clientTimeout = standardTimeouts.write + 5*time.Second

// maxAnswer bounds what a Client reads of one answer, in octets. A page of
// 1,000 messages needs about 1 MB, a message with 1,000 recipients less.
const maxAnswer = 64 << 20

// Client asks a node over its control socket. Errors are *Unreachable if nobody
// answered, *Error if the node refused, or the error of ctx. It is safe for use
// by many goroutines.
type Client struct {
	socket string
	http   http.Client
}

// NewClient makes a Client of the node whose socket is at path. It does not
// connect yet.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: 2 * time.Second}
		return d.DialContext(ctx, "unix", path)
	}
	return &Client{socket: path, http: http.Client{
		Timeout:   clientTimeout,
		Transport: &http.Transport{DialContext: dial, DisableCompression: true},
	}}
}

// Close closes the connections that are kept.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks what the node does.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Version asks what the node was built from.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var v Version
	return v, c.do(ctx, http.MethodGet, "/v1/version", nil, &v)
}

// Reload makes the node read its config, certificates and lists again. If they
// are bad nothing is changed, and the *Error holds the problems.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	var r Reloaded
	return r, c.do(ctx, http.MethodPost, "/v1/reload", nil, &r)
}

// Page asks for one page of the queue.
func (c *Client) Page(ctx context.Context, q QueueQuery) (QueuePage, error) {
	var p QueuePage
	return p, c.do(ctx, http.MethodGet, "/v1/queue?"+q.Values().Encode(), nil, &p)
}

// Messages walks over all messages that q means, from q.After on, a page at a
// time: q.Limit is the size of a page. It ends after the first error.
func (c *Client) Messages(ctx context.Context, q QueueQuery) iter.Seq2[QueueItem, error] {
	return func(yield func(QueueItem, error) bool) {
		for {
			page, err := c.Page(ctx, q)
			if err != nil {
				yield(QueueItem{}, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if err := advance(&q.After, page.Next); err != nil {
				yield(QueueItem{}, err)
				return
			}
			if page.Next.IsZero() {
				return
			}
		}
	}
}

// Count walks over all messages that q means and counts them.
func (c *Client) Count(ctx context.Context, q QueueQuery) (n int64, err error) {
	q.Limit = MaxPage
	for _, err := range c.Messages(ctx, q) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Message asks for all that the node knows of one message.
func (c *Client) Message(ctx context.Context, id mail.ID) (QueueDetail, error) {
	var d QueueDetail
	return d, c.do(ctx, http.MethodGet, "/v1/queue/"+id.String(), nil, &d)
}

// Change acts on messages: those of ch.IDs, in as many requests as it takes, or
// one page after the other of all that ch means. Each part of the answer is
// given as it comes; it ends after the first error, with the parts before it
// done.
func (c *Client) Change(ctx context.Context, a Action, ch Change) iter.Seq2[Changed, error] {
	return func(yield func(Changed, error) bool) {
		ids := ch.IDs
		for {
			if !ch.All {
				n := min(len(ids), MaxPage)
				ch.IDs, ids = ids[:n], ids[n:]
			}
			var part Changed
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

// advance moves after to next. A page that does not lead on would be asked for
// without end.
func advance(after *mail.ID, next mail.ID) error {
	if !next.IsZero() && bytes.Compare(next[:], after[:]) <= 0 {
		return fmt.Errorf("the node's page after %s leads back to %s", after, next)
	}
	*after = next
	return nil
}

// do sends one request and reads its answer into out.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://anymx"+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Unreachable{Socket: c.socket, Cause: cause(err)}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Unreachable{Socket: c.socket, Cause: cause(err)}
	}
	return c.read(resp.StatusCode, text, out)
}

// read takes an answer apart.
func (c *Client) read(status int, text []byte, out any) error {
	if status == http.StatusOK {
		if err := json.Unmarshal(text, out); err != nil {
			return &Unreachable{Socket: c.socket, Cause: fmt.Errorf("what answers there does not speak this protocol: %w", err)}
		}
		return nil
	}
	var e Error
	if json.Unmarshal(text, &e) != nil || e.Code == "" {
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		cause := fmt.Errorf("what answers there says %q (HTTP %d)", first[:min(100, len(first))], status)
		return &Unreachable{Socket: c.socket, Cause: cause}
	}
	if e.Code == NoRoute {
		e.Text += "; is it older than this program? Compare `anymx version`"
	}
	return &e
}

// cause takes the made-up URL out of an error of net/http.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
