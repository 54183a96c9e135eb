package machine

import (
	"context"
	"fmt"
	"net/http"
	"os/user"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/operate/api"
	"anymx/edge/operate/control"
)

// endpoint answers on the control socket.
func (m *Machine) endpoint() (*control.Endpoint, error) {
	registry := prometheus.NewRegistry()
	if err := registry.Register(collector{m}); err != nil {
		return nil, err
	}
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
			// To its end, also if who has asked is gone: half of it would be a config in
			// force that nobody has read.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), provisionLimit)
			defer cancel()
			p, err = m.provision(ctx, want)
		}
		e.Audit(r, err, "action", "provision", "forget", want.Forget)
		return p, err
	})
	e.HandleStream("POST /v1/update", func(r *http.Request, send func(any) error) error {
		want, err := control.ReadUpdateRequest(r.URL.Query())
		return m.take(e, r, send, "update", err, func(o *order) error { return m.update(o, want, r.Body) })
	})
	for kind, run := range map[string]func(*order, api.PowerRequest) error{"rollback": m.rollback, "reboot": m.reboot, "poweroff": m.poweroff} {
		e.HandleStream("POST /v1/"+kind, func(r *http.Request, send func(any) error) error {
			var want api.PowerRequest
			err := control.ReadJSON(r, &want)
			return m.take(e, r, send, kind, err, func(o *order) error {
				if err := o.keep(); err != nil {
					return err
				}
				return run(o, want)
			})
		})
	}
	return e, nil
}

// take starts an order, if its request is good and its sender may give it, and
// follows it.
func (m *Machine) take(e *control.Endpoint, r *http.Request, send func(any) error, kind string, err error, run func(*order) error) error {
	if err == nil {
		err = m.allow(r)
	}
	var o *order
	if err == nil {
		o, err = m.start(kind, run)
	}
	e.Audit(r, err, "action", kind)
	if err != nil {
		return err
	}
	err = o.follow(r, send)
	if err != nil {
		m.Log.Warn("order failed", "order", kind, "err", err)
	}
	return err
}

// allow refuses senders that may only look: the programs that speak with
// strangers are in the group of the socket too.
func (m *Machine) allow(r *http.Request) error {
	uid, ok := control.Caller(r)
	if ok && m.users[uid] {
		return nil
	}
	return &api.Error{Code: api.Forbidden, Text: fmt.Sprintf("user %d may look at this machine, but not change it: run this as root", uid)}
}

// userIDs are the numbers of root and of those users that there are.
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
