package machine

import (
	"context"
	"net/http"
	"os/user"
	"strconv"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
	"anymx/edge/refusal"
	"anymx/edge/service"
)

// endpoint returns the HTTP endpoint of the control socket.
func (m *Machine) endpoint() (*control.Endpoint, error) {
	registry := service.NewRegistry(nil, collector{m})
	e, err := control.NewEndpoint(control.EndpointOptions{Gather: registry, Metrics: registry, Log: m.Log})
	if err != nil {
		return nil, err
	}
	e.Handle("GET /v1/status", func(*http.Request) (any, error) { return m.status(), nil })
	e.Handle("POST /v1/provision", func(r *http.Request) (any, error) {
		var want api.ProvisionRequest
		err := control.ReadJSON(r, &want)
		if err == nil {
			err = m.allow(r)
		}
		var p api.Provisioned
		if err == nil {
			// To its end, also if the client disconnects: half of it would be a config in force
			// that no program has read.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), provisionLimit)
			defer cancel()
			p, err = m.provision(ctx, want)
		}
		e.Audit(r, err, "action", "provision", "forget", want.Forget)
		return p, err
	})
	e.HandleStream("POST /v1/update", func(r *http.Request, send func(any) error) error {
		want, err := control.ReadUpdateRequest(r.URL.Query())
		return m.startOperation(e, r, send, "update", err, func(o *operation) error { return m.update(o, want, r.Body) })
	})
	for kind, run := range map[string]func(*operation, api.PowerRequest) error{"rollback": m.rollback, "reboot": m.reboot, "poweroff": m.poweroff} {
		e.HandleStream("POST /v1/"+kind, func(r *http.Request, send func(any) error) error {
			var want api.PowerRequest
			err := control.ReadJSON(r, &want)
			return m.startOperation(e, r, send, kind, err, func(o *operation) error {
				if err := o.detach(); err != nil {
					return err
				}
				return run(o, want)
			})
		})
	}
	return e, nil
}

// startOperation starts an operation, if its request is valid and its sender may run it, and
// follows it.
func (m *Machine) startOperation(e *control.Endpoint, r *http.Request, send func(any) error, kind string, err error, run func(*operation) error) error {
	if err == nil {
		err = m.allow(r)
	}
	var o *operation
	if err == nil {
		o, err = m.start(kind, run)
	}
	e.Audit(r, err, "action", kind)
	if err != nil {
		return err
	}
	err = o.follow(r, send)
	if err != nil {
		m.Log.Warn("operation failed", "operation", kind, "err", err)
	}
	return err
}

// allow refuses clients that may only read: the programs that talk to strangers are in the socket's
// group too.
func (m *Machine) allow(r *http.Request) error {
	uid, ok := control.Caller(r)
	if ok && m.users[uid] {
		return nil
	}
	return refusal.Forbidden.Errorf("user %d may look at this machine, but not change it: run this as root", uid)
}

// userIDs returns the numbers of root and of those users that exist.
func userIDs(names []string) map[int]bool {
	ids := map[int]bool{0: true}
	for _, name := range names {
		if u, err := user.Lookup(name); err == nil {
			if id, err := strconv.Atoi(u.Uid); err == nil {
				ids[id] = true
			}
		}
	}
	return ids
}
