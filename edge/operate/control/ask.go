package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"anymx/edge/operate/api"
)

// clientTimeout bounds one request, so that a hanging node is an error instead of an endless wait.
// It is longer than the server's own limit.
var clientTimeout = standardTimeouts.write + 5*time.Second

// maxAnswer bounds what a Client reads of one answer, in bytes. A page of 1,000 messages needs
// about 1 MB, a message with 1,000 recipients less.
const maxAnswer = 64 << 20

// asker sends requests to one program over its control socket.
type asker struct {
	socket  string
	program string // for errors; "": the node
	http    *http.Client
}

func newAsker(path, program string) asker {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		d := net.Dialer{Timeout: 2 * time.Second}
		return d.DialContext(ctx, "unix", path)
	}
	return asker{socket: path, program: program, http: &http.Client{
		Timeout:   clientTimeout,
		Transport: &http.Transport{DialContext: dial, DisableCompression: true},
	}}
}

// Close closes the idle connections.
func (a *asker) Close() { a.http.CloseIdleConnections() }

// do sends one request and reads its answer into out.
func (a *asker) do(ctx context.Context, method, path string, in, out any) error {
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
	resp, err := a.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Unreachable{Socket: a.socket, Program: a.program, Cause: cause(err)}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Unreachable{Socket: a.socket, Program: a.program, Cause: cause(err)}
	}
	return a.read(resp.StatusCode, text, out)
}

// read decodes an answer.
func (a *asker) read(status int, text []byte, out any) error {
	if status == http.StatusOK {
		if err := json.Unmarshal(text, out); err != nil {
			return &Unreachable{Socket: a.socket, Program: a.program, Cause: unspoken(err)}
		}
		return nil
	}
	var e api.Error
	if json.Unmarshal(text, &e) != nil || e.Code == "" {
		first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
		cause := fmt.Errorf("what answers there says %q (HTTP %d)", first[:min(100, len(first))], status)
		return &Unreachable{Socket: a.socket, Program: a.program, Cause: cause}
	}
	if e.Code == api.NoRoute {
		e.Text += "; is it older than this program? Compare `anymx version`"
	}
	return &e
}

// cause removes the made-up URL from an error of net/http.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// unspoken returns the error for an answer that can't be decoded.
func unspoken(err error) error {
	return fmt.Errorf("what answers there does not speak this protocol: %w", err)
}

// maxLine bounds a line of a stream, in bytes.
const maxLine = 64 << 10

// lines sends a POST of size bytes from body, which may be nil, and passes the lines of its answer
// (Endpoint.HandleStream) to read until that stops or fails. It has no time limit.
func (a *asker) lines(ctx context.Context, path string, body io.Reader, size int64, read func(line []byte) (more bool, err error)) error {
	unreachable := func(err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Unreachable{Socket: a.socket, Program: a.program, Cause: cause(err)}
	}
	if body != nil {
		body = io.NopCloser(body) // the transport must not close the caller's body
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://anymx"+path, body)
	if err != nil {
		return err
	}
	if body != nil {
		req.ContentLength = size
	}
	stream := http.Client{Transport: a.http.Transport}
	resp, err := stream.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
		if err != nil {
			return unreachable(err)
		}
		return a.read(resp.StatusCode, text, nil)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		if more, err := read(lines.Bytes()); err != nil || !more {
			return err
		}
	}
	if err = lines.Err(); err == nil {
		err = errors.New("it has ended before the order was carried out")
	}
	return unreachable(err)
}
