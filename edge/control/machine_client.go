package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
)

// MachineSocket is where anymx-machine answers, unless it is told otherwise.
const MachineSocket = "/run/anymx/machine.sock"

// maxLine bounds a line of a stream, in octets.
const maxLine = 64 << 10

// MachineClient asks anymx-machine over its control socket, as a Client asks the
// node.
type MachineClient struct {
	asker
	stream http.Client // without a limit in time
}

// NewMachineClient makes a MachineClient of the program whose socket is at path.
// It does not connect yet.
func NewMachineClient(path string) *MachineClient {
	c := &MachineClient{asker: newAsker(path, "anymx-machine")}
	c.stream.Transport = c.http.Transport
	return c
}

// Status asks what the appliance runs.
func (c *MachineClient) Status(ctx context.Context) (MachineStatus, error) {
	var s MachineStatus
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Provision has the sources of the config read again.
func (c *MachineClient) Provision(ctx context.Context, r ProvisionRequest) (Provisioned, error) {
	var p Provisioned
	return p, c.do(ctx, http.MethodPost, "/v1/provision", r, &p)
}

// Update orders an update from bundle, of which size octets will come (-1: not
// known), or from r.URL; bundle is nil then. It yields how far it is until it has
// ended, or the error that ended it. Once the bundle has come whole and was found good
// the update goes on even if ctx ends.
func (c *MachineClient) Update(ctx context.Context, r UpdateRequest, bundle io.Reader, size int64) iter.Seq2[MachineProgress, error] {
	q := url.Values{}
	for name, value := range map[string]bool{"dry_run": r.DryRun, "stage_only": r.StageOnly, "allow_older": r.AllowOlder} {
		if value {
			q.Set(name, "true")
		}
	}
	if r.URL != "" {
		q.Set("url", r.URL)
	}
	return c.order(ctx, "/v1/update?"+q.Encode(), bundle, size)
}

// ReadUpdateRequest takes the parameters of POST /v1/update apart.
func ReadUpdateRequest(q url.Values) (r UpdateRequest, err error) {
	for name, values := range q {
		if name == "url" {
			r.URL = values[0]
			continue
		}
		into, ok := map[string]*bool{"dry_run": &r.DryRun, "stage_only": &r.StageOnly, "allow_older": &r.AllowOlder}[name]
		if !ok {
			return r, badRequest(fmt.Errorf("there is no parameter %q", name))
		}
		if *into, err = strconv.ParseBool(values[0]); err != nil {
			return r, badRequest(fmt.Errorf("parameter %q: %q is neither true nor false", name, values[0]))
		}
	}
	return r, nil
}

// Rollback has the machine go back to the version in the other slot.
func (c *MachineClient) Rollback(ctx context.Context, r PowerRequest) iter.Seq2[MachineProgress, error] {
	return c.power(ctx, "/v1/rollback", r)
}

// Reboot drains the node and reboots the machine.
func (c *MachineClient) Reboot(ctx context.Context, r PowerRequest) iter.Seq2[MachineProgress, error] {
	return c.power(ctx, "/v1/reboot", r)
}

// Poweroff drains the node and turns the machine off.
func (c *MachineClient) Poweroff(ctx context.Context, r PowerRequest) iter.Seq2[MachineProgress, error] {
	return c.power(ctx, "/v1/poweroff", r)
}

func (c *MachineClient) power(ctx context.Context, path string, r PowerRequest) iter.Seq2[MachineProgress, error] {
	text, err := json.Marshal(r)
	if err != nil {
		return func(yield func(MachineProgress, error) bool) { yield(MachineProgress{}, err) }
	}
	return c.order(ctx, path, bytes.NewReader(text), int64(len(text)))
}

// order sends an order and yields the lines of its answer.
func (c *MachineClient) order(ctx context.Context, path string, body io.Reader, size int64) iter.Seq2[MachineProgress, error] {
	return func(yield func(MachineProgress, error) bool) {
		unreachable := func(err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &Unreachable{Socket: c.socket, Program: c.program, Cause: cause(err)}
		}
		if body != nil {
			body = io.NopCloser(body) // the caller's, and not the transport's to close
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://anymx"+path, body)
		if err != nil {
			yield(MachineProgress{}, err)
			return
		}
		if body != nil {
			req.ContentLength = size
		}
		resp, err := c.stream.Do(req)
		if err != nil {
			yield(MachineProgress{}, unreachable(err))
			return
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			text, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
			if err == nil {
				err = c.read(resp.StatusCode, text, nil)
			} else {
				err = unreachable(err)
			}
			yield(MachineProgress{}, err)
			return
		}
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, maxLine)
		for lines.Scan() {
			p, err := readLine(lines.Bytes())
			if !yield(p, err) || err != nil || p.Ended {
				return
			}
		}
		err = lines.Err()
		if err == nil {
			err = errors.New("it has ended before the order was carried out")
		}
		yield(MachineProgress{}, unreachable(err))
	}
}

// readLine reads one line of an answer.
func readLine(line []byte) (MachineProgress, error) {
	var both struct {
		MachineProgress
		Error
	}
	if err := json.Unmarshal(line, &both); err != nil {
		return MachineProgress{}, fmt.Errorf("what answers there does not speak this protocol: %w", err)
	}
	if both.Code != "" {
		return both.MachineProgress, &both.Error
	}
	return both.MachineProgress, nil
}
