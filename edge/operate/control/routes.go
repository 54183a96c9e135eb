package control

import (
	"context"
	"net/http"

	"anymx/edge/mail"
	"anymx/edge/operate/api"
)

// addRoutes adds the node's endpoints: everything on the unix socket, and a page without mail
// addresses on the TCP listener.
func (s *Server) addRoutes() {
	e := s.endpoint
	e.Handle("GET /v1/status", s.getStatus)
	e.Handle("GET /v1/version", s.getVersion)
	e.Handle("GET /v1/queue", s.getQueue)
	e.Handle("GET /v1/queue/summary", s.getSummary)
	e.Handle("GET /v1/queue/{id}", s.getMessage)
	e.Handle("POST /v1/queue/{action}", s.postChange)
	e.Handle("GET /v1/spool", s.getSpool)
	e.Handle("POST /v1/spool/set-aside", s.postSpoolAside)
	e.HandleStream("POST /v1/spool/export", s.postSpoolExport)
	e.Handle("POST /v1/drain", s.postDrain)
	e.Handle("POST /v1/resume", s.postResume)
	e.Handle("POST /v1/reload", s.postReload)
	e.Handle("POST /v1/self-test", s.postSelfTest)
	e.HandlePage("GET /{$}", http.HandlerFunc(s.page))
}

// status returns the node's Status with its readiness.
func (s *Server) status(ctx context.Context) api.Status {
	st := s.node.Status(ctx)
	if st.Version == "" {
		st.Version = api.ThisVersion().Version
	}
	if st.Core == nil {
		st.Core = []api.CoreStatus{}
	}
	if err := s.endpoint.ready.ask(ctx); err != nil {
		st.Ready = api.Readiness{Reason: err.Error()}
	} else {
		st.Ready = api.Readiness{OK: true}
	}
	return st
}

func (s *Server) getStatus(r *http.Request) (any, error) { return s.status(r.Context()), nil }

func (s *Server) getVersion(*http.Request) (any, error) { return api.ThisVersion(), nil }

func (s *Server) getQueue(r *http.Request) (any, error) {
	q, err := api.ParseQuery(r.URL.Query())
	if err != nil {
		return nil, badRequest(err)
	}
	q.Limit = q.Page()
	page, err := s.node.List(r.Context(), q)
	if page.Items == nil {
		page.Items = []api.QueueItem{} // JSON [] for an empty list, not null
	}
	return page, err
}

func (s *Server) getSummary(r *http.Request) (any, error) {
	limit, err := api.ParseSummaryLimit(r.URL.Query())
	if err != nil {
		return nil, badRequest(err)
	}
	summary, err := s.node.Summary(r.Context(), limit)
	if summary.Rows == nil {
		summary.Rows = []api.SummaryRow{} // JSON [] for an empty list, not null
	}
	return summary, err
}

func (s *Server) getMessage(r *http.Request) (any, error) {
	id, err := mail.ParseID(r.PathValue("id"))
	if err != nil {
		return nil, badRequest(err)
	}
	return s.node.Show(r.Context(), id)
}

func (s *Server) postChange(r *http.Request) (any, error) {
	action, err := api.ParseAction(r.PathValue("action"))
	if err != nil {
		return nil, &api.Error{Code: api.NoRoute, Text: err.Error()}
	}
	var c api.Change
	if err := ReadJSON(r, &c); err != nil {
		return nil, err
	}
	if err := checkChange(&c, action); err != nil {
		return nil, badRequest(err)
	}
	changed, err := s.change(r.Context(), action, c)
	s.endpoint.Audit(r, err, "action", string(action), "all", c.All,
		"messages", len(changed.Messages), "later", len(changed.Pending), "refused", len(changed.Refused))
	return changed, err
}

// change acts on the ids of c, or on one page of all that it selects.
func (s *Server) change(ctx context.Context, a api.Action, c api.Change) (api.Changed, error) {
	items := map[mail.ID]api.QueueItem{}
	ids, next := c.IDs, mail.ID{}
	if c.All {
		c.Limit = c.Page()
		page, err := s.node.List(ctx, c.QueueQuery)
		if err != nil {
			return api.Changed{}, err
		}
		for _, item := range page.Items {
			if _, known := items[item.ID]; !known { // a message has an item for each leg
				ids = append(ids, item.ID)
			}
			items[item.ID] = item
		}
		next = page.Next
	}
	for _, id := range c.IDs {
		d, err := s.node.Show(ctx, id)
		if err == nil {
			items[id] = d.QueueItem
		}
		// A message that can't be shown may still be changed; if not, the change reports the
		// reason.
	}
	var o api.Outcome
	var err error
	if len(ids) > 0 {
		o, err = s.node.Change(ctx, a, ids, c.Reason)
	}
	if err != nil && len(o.Done)+len(o.Pending)+len(o.Missing) == 0 {
		return api.Changed{}, err
	}
	if err != nil {
		s.log.Error("queue changed in part", "action", string(a), "err", err)
	}
	changed := newChanged(ids, items, o, err, c.All)
	changed.Next = next
	return changed, nil
}

func (s *Server) postDrain(r *http.Request) (any, error) {
	var d api.DrainRequest
	if err := ReadJSON(r, &d); err != nil {
		return nil, err
	}
	err := checkReason(d.Reason)
	if err == nil {
		if _, err = api.ParseUntil(string(d.Until)); err != nil {
			err = badRequest(err)
		}
	}
	if err == nil {
		err = s.node.Drain(r.Context(), d)
	}
	s.endpoint.Audit(r, err, "action", "drain", "reason", d.Reason, "now", d.Now, "until", d.Until)
	if err != nil {
		return nil, err
	}
	s.endpoint.ready.forget()
	return s.status(r.Context()), nil
}

func (s *Server) postResume(r *http.Request) (any, error) {
	err := s.node.Resume(r.Context())
	s.endpoint.Audit(r, err, "action", "resume")
	if err != nil {
		return nil, err
	}
	s.endpoint.ready.forget()
	return s.status(r.Context()), nil
}

func (s *Server) postReload(r *http.Request) (any, error) {
	reloaded, err := s.node.Reload(r.Context())
	s.endpoint.Audit(r, err, "action", "reload")
	if err != nil {
		return nil, reloadError(err)
	}
	if reloaded.Changed == nil {
		reloaded.Changed = []string{}
	}
	if reloaded.Restart == nil {
		reloaded.Restart = []string{}
	}
	return reloaded, nil
}

// reloadError returns the answer to a failed reload: an unreadable file is an error in the config,
// like an invalid key.
func reloadError(err error) *api.Error {
	e := asError(err)
	if e.Code == api.Internal {
		return &api.Error{Code: api.BadConfig, Text: "nothing was changed: " + e.Text}
	}
	return e
}
