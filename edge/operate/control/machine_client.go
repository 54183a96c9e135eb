package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"anymx/edge/operate/api"
)

// MachineSocket is the default socket of anymx-machine.
const MachineSocket = "/run/anymx/machine.sock"

// MachineClient sends requests to anymx-machine over its control socket, as a Client does to the
// node.
type MachineClient struct{ asker }

// NewMachineClient returns a MachineClient of the program whose socket is at path. It does not
// connect yet.
func NewMachineClient(path string) *MachineClient {
	return &MachineClient{newAsker(path, "anymx-machine")}
}

// Status returns the status of the appliance.
func (c *MachineClient) Status(ctx context.Context) (api.MachineStatus, error) {
	var s api.MachineStatus
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Provision makes anymx-machine read the sources of the config again.
func (c *MachineClient) Provision(ctx context.Context, r api.ProvisionRequest) (api.Provisioned, error) {
	var p api.Provisioned
	return p, c.do(ctx, http.MethodPost, "/v1/provision", r, &p)
}

// Update starts an update from bundle, of size bytes (-1: not known), or from r.URL; bundle is nil
// then. It yields the progress until the end, or the error that ended it. Once the bundle has
// arrived whole and was verified the update continues even if ctx ends.
func (c *MachineClient) Update(ctx context.Context, r api.UpdateRequest, bundle io.Reader, size int64) iter.Seq2[api.MachineProgress, error] {
	q := url.Values{}
	for name, value := range map[string]bool{"dry_run": r.DryRun, "stage_only": r.StageOnly, "allow_older": r.AllowOlder} {
		if value {
			q.Set(name, "true")
		}
	}
	if r.URL != "" {
		q.Set("url", r.URL)
	}
	return c.operation(ctx, "/v1/update?"+q.Encode(), bundle, size)
}

// ReadUpdateRequest parses the parameters of POST /v1/update.
func ReadUpdateRequest(q url.Values) (r api.UpdateRequest, err error) {
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

// Rollback makes the machine return to the version in the other slot.
func (c *MachineClient) Rollback(ctx context.Context, r api.PowerRequest) iter.Seq2[api.MachineProgress, error] {
	return c.power(ctx, "/v1/rollback", r)
}

// Reboot drains the node and reboots the machine.
func (c *MachineClient) Reboot(ctx context.Context, r api.PowerRequest) iter.Seq2[api.MachineProgress, error] {
	return c.power(ctx, "/v1/reboot", r)
}

// Poweroff drains the node and turns the machine off.
func (c *MachineClient) Poweroff(ctx context.Context, r api.PowerRequest) iter.Seq2[api.MachineProgress, error] {
	return c.power(ctx, "/v1/poweroff", r)
}

func (c *MachineClient) power(ctx context.Context, path string, r api.PowerRequest) iter.Seq2[api.MachineProgress, error] {
	text, err := json.Marshal(r)
	if err != nil {
		return func(yield func(api.MachineProgress, error) bool) { yield(api.MachineProgress{}, err) }
	}
	return c.operation(ctx, path, bytes.NewReader(text), int64(len(text)))
}

// operation starts an operation and yields the lines of its answer.
func (c *MachineClient) operation(ctx context.Context, path string, body io.Reader, size int64) iter.Seq2[api.MachineProgress, error] {
	return func(yield func(api.MachineProgress, error) bool) {
		err := c.lines(ctx, path, body, size, func(line []byte) (more bool, err error) {
			p, err := readLine(line)
			return err == nil && yield(p, nil) && !p.Ended, err
		})
		if err != nil {
			yield(api.MachineProgress{}, err)
		}
	}
}

// readLine reads one line of an answer.
func readLine(line []byte) (api.MachineProgress, error) {
	var both struct {
		api.MachineProgress
		api.Error
	}
	if err := json.Unmarshal(line, &both); err != nil {
		return api.MachineProgress{}, unspoken(err)
	}
	if both.Code != "" {
		return both.MachineProgress, &both.Error
	}
	return both.MachineProgress, nil
}
