package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"anymx/edge/mail"
)

// controlRoutes is what the unix socket offers.
func (s *Server) controlRoutes() http.Handler {
	mux := http.NewServeMux()
	s.observe(mux)
	s.route(mux, "GET /v1/status", s.answer(s.getStatus))
	s.route(mux, "GET /v1/version", s.answer(s.getVersion))
	s.route(mux, "GET /v1/queue", s.answer(s.getQueue))
	s.route(mux, "GET /v1/queue/{id}", s.answer(s.getMessage))
	s.route(mux, "POST /v1/queue/{action}", s.answer(s.postChange))
	s.route(mux, "POST /v1/reload", s.answer(s.postReload))
	s.route(mux, "/", s.answer(func(r *http.Request) (any, error) {
		return nil, &Error{Code: NoRoute, Text: "this node does not know the request " + r.Method + " " + strconv.Quote(r.URL.Path)}
	}))
	return mux
}

// metricsRoutes is what the TCP listener offers: all for reading, no mail
// addresses.
func (s *Server) metricsRoutes() http.Handler {
	mux := http.NewServeMux()
	s.observe(mux)
	s.route(mux, "GET /{$}", http.HandlerFunc(s.page))
	return mux
}

// observe adds what both listeners offer to machines.
func (s *Server) observe(mux *http.ServeMux) {
	s.route(mux, "GET /metrics", promhttp.HandlerFor(s.gather, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 8,
		CoalesceGather:      true,
		Timeout:             s.timeouts.request,
	}))
	s.route(mux, "GET /healthz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "alive")
	}))
	s.route(mux, "GET /readyz", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.ready.ask(r.Context()); err != nil {
			plain(w, http.StatusServiceUnavailable, "not ready: "+redact(err.Error()))
			return
		}
		plain(w, http.StatusOK, "ready")
	}))
}

// route adds h under pattern, which is also its label in the metrics.
func (s *Server) route(mux *http.ServeMux, pattern string, h http.Handler) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		ctx, cancel := context.WithTimeout(r.Context(), s.timeouts.request)
		defer cancel()
		counted := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(counted, r.WithContext(ctx))
		s.requests.WithLabelValues(pattern, strconv.Itoa(counted.status)).Inc()
	})
}

// statusWriter remembers the status for the metrics.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, text+"\n") // the client is gone, then
}

// answer writes what get returns as JSON, an error as an Error.
func (s *Server) answer(get func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		value, err := get(r)
		if err != nil {
			e := asError(err)
			if e.Code == Internal {
				s.log.Error("control request failed", "request", r.Method+" "+r.URL.Path, "err", err)
			}
			status, value = e.Code.httpStatus(), e
		}
		var body bytes.Buffer
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			s.log.Error("control answer can't be written as JSON", "request", r.Method+" "+r.URL.Path, "err", err)
			http.Error(w, `{"error":"the answer can't be written as JSON","code":"internal"}`, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
		w.WriteHeader(status)
		body.WriteTo(w) // the client is gone, then
	})
}

// status is the node's Status with its readiness.
func (s *Server) status(ctx context.Context) Status {
	st := s.node.Status(ctx)
	if st.Version == "" {
		st.Version = ThisVersion().Version
	}
	if st.Core == nil {
		st.Core = []CoreStatus{}
	}
	if err := s.ready.ask(ctx); err != nil {
		st.Ready = Readiness{Reason: err.Error()}
	} else {
		st.Ready = Readiness{OK: true}
	}
	return st
}

func (s *Server) getStatus(r *http.Request) (any, error) { return s.status(r.Context()), nil }

func (s *Server) getVersion(*http.Request) (any, error) { return ThisVersion(), nil }

func (s *Server) getQueue(r *http.Request) (any, error) {
	q, err := ParseQuery(r.URL.Query())
	if err != nil {
		return nil, badRequest(err)
	}
	q.Limit = q.page()
	page, err := s.node.List(r.Context(), q)
	if page.Items == nil {
		page.Items = []QueueItem{} // an empty list is [] for programs, not null
	}
	return page, err
}

func (s *Server) getMessage(r *http.Request) (any, error) {
	id, err := mail.ParseID(r.PathValue("id"))
	if err != nil {
		return nil, badRequest(err)
	}
	return s.node.Show(r.Context(), id)
}

func (s *Server) postChange(r *http.Request) (any, error) {
	action, err := ParseAction(r.PathValue("action"))
	if err != nil {
		return nil, &Error{Code: NoRoute, Text: err.Error()}
	}
	var c Change
	if err := readJSON(r, &c); err != nil {
		return nil, err
	}
	if err := c.check(action); err != nil {
		return nil, badRequest(err)
	}
	changed, err := s.change(r.Context(), action, c)
	s.audit(r, err, "action", string(action), "all", c.All,
		"messages", len(changed.Messages), "later", len(changed.Later), "refused", len(changed.Refused))
	return changed, err
}

// change acts on the ids of c, or on one page of all that it means.
func (s *Server) change(ctx context.Context, a Action, c Change) (Changed, error) {
	items := map[mail.ID]QueueItem{}
	ids, next := c.IDs, mail.ID{}
	if c.All {
		c.Limit = c.page()
		page, err := s.node.List(ctx, c.QueueQuery)
		if err != nil {
			return Changed{}, err
		}
		for _, item := range page.Items {
			ids = append(ids, item.ID)
			items[item.ID] = item
		}
		next = page.Next
	}
	for _, id := range c.IDs {
		d, err := s.node.Show(ctx, id)
		if err == nil {
			items[id] = d.QueueItem
		}
		// One that can't be shown may still be changed, or else the change says
		// why it can't.
	}
	var o Outcome
	var err error
	if len(ids) > 0 {
		o, err = s.node.Change(ctx, a, ids, c.Reason)
	}
	if err != nil && len(o.Done)+len(o.Later)+len(o.Missing) == 0 {
		return Changed{}, err
	}
	if err != nil {
		s.log.Error("queue changed in part", "action", string(a), "err", err)
	}
	changed := newChanged(ids, items, o, err, c.All)
	changed.Next = next
	return changed, nil
}

func (s *Server) postReload(r *http.Request) (any, error) {
	reloaded, err := s.node.Reload(r.Context())
	s.audit(r, err, "action", "reload")
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

// reloadError is the answer to a reload that failed: a file that can't be read
// is as much a mistake of the config as a bad key.
func reloadError(err error) *Error {
	e := asError(err)
	if e.Code == Internal {
		return &Error{Code: BadConfig, Text: "nothing was changed: " + e.Text}
	}
	return e
}

// audit logs a request that changes something, and who sent it.
func (s *Server) audit(r *http.Request, err error, args ...any) {
	by := peerOf(r.Context())
	args = append(args, "uid", by.uid, "pid", by.pid)
	if err != nil {
		s.log.Warn("control request refused", append(args, "err", err)...)
		return
	}
	s.log.Info("control request", args...)
}

// readJSON reads the whole body as one value, and nothing that it does not know.
func readJSON(r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &Error{Code: TooLarge, Text: fmt.Sprintf("the request is larger than %d octets", maxBody)}
	case err != nil:
		return badRequest(fmt.Errorf("reading the request: %w", err))
	}
	if err := decodeJSON(body, into); err != nil {
		return badRequest(err)
	}
	return nil
}

// decodeJSON reads text as one value, with no field that into does not have.
func decodeJSON(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("the request is not the JSON that was expected: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("the request holds more than one JSON value")
	}
	return nil
}
