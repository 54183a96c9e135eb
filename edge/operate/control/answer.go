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

	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

// Handle adds an endpoint of the control socket under pattern, as for http.ServeMux: "GET
// /v1/status". The value that get returns is sent as JSON, an error as an *api.Error with the
// code of its refusal.Kind: any other error is Internal, or Unavailable if it is a timeout. The request's context ends after 30 s.
// Handle panics if the pattern exists already, and must not be called after Serve.
func (e *Endpoint) Handle(pattern string, get func(*http.Request) (any, error)) {
	e.route(e.socket, pattern, e.answer(get))
}

// HandlePage adds an endpoint of the metrics listener. It must not reveal anything that a client of
// that listener may not read.
func (e *Endpoint) HandlePage(pattern string, h http.Handler) { e.route(e.pages, pattern, h) }

func noRoute(r *http.Request) (any, error) {
	return nil, &api.Error{Code: api.NoRoute, Text: "this node does not know the request " + r.Method + " " + strconv.Quote(r.URL.Path)}
}

// observe adds the endpoints for monitoring, which both listeners have.
func (e *Endpoint) observe(mux *http.ServeMux) {
	e.route(mux, "GET /metrics", promhttp.HandlerFor(e.gather, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 8,
		CoalesceGather:      true,
		Timeout:             e.timeouts.request,
	}))
	e.route(mux, "GET /healthz", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		plain(w, http.StatusOK, "alive")
	}))
	e.route(mux, "GET /readyz", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := e.ready.ask(r.Context()); err != nil {
			plain(w, http.StatusServiceUnavailable, "not ready: "+words.Redact(err.Error()))
			return
		}
		plain(w, http.StatusOK, "ready")
	}))
}

// route adds h under pattern, which is also its label in the metrics.
func (e *Endpoint) route(mux *http.ServeMux, pattern string, h http.Handler) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		ctx, cancel := context.WithTimeout(r.Context(), e.timeouts.request)
		defer cancel()
		counted := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(counted, r.WithContext(ctx))
		e.requests.WithLabelValues(pattern, strconv.Itoa(counted.status)).Inc()
	})
}

// statusWriter records the status for the metrics.
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
	io.WriteString(w, text+"\n") // fails only if the client is gone
}

// answer writes the value that get returns as JSON, an error as an *api.Error.
func (e *Endpoint) answer(get func(*http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		value, err := get(r)
		if err != nil {
			refusal := asError(err)
			if refusal.Code == api.Internal {
				e.log.Error("control request failed", "request", r.Method+" "+r.URL.Path, "err", err)
			}
			status, value = httpStatus(refusal.Code), refusal
		}
		var body bytes.Buffer
		enc := json.NewEncoder(&body)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			e.log.Error("control answer can't be written as JSON", "request", r.Method+" "+r.URL.Path, "err", err)
			http.Error(w, `{"error":"the answer can't be written as JSON","code":"internal"}`, http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
		w.WriteHeader(status)
		body.WriteTo(w) // fails only if the client is gone
	})
}

// Audit logs a request that changes something, and who sent it; err is why it was refused.
func (e *Endpoint) Audit(r *http.Request, err error, args ...any) {
	by := peerOf(r.Context())
	args = append(args, "uid", by.uid, "pid", by.pid)
	if err != nil {
		e.log.Warn("control request refused", append(args, "err", err)...)
		return
	}
	e.log.Info("control request", args...)
}

// ReadJSON reads the whole body of r, at most 64 KiB, as one JSON value. Fields that into lacks are
// an error. Its error is an *api.Error.
func ReadJSON(r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &api.Error{Code: api.TooLarge, Text: fmt.Sprintf("the request is larger than %d bytes", maxBody)}
	case err != nil:
		return badRequest(fmt.Errorf("reading the request: %w", err))
	}
	if err := decodeJSON(body, into); err != nil {
		return badRequest(err)
	}
	return nil
}

// decodeJSON reads text as one value. Fields that into lacks are an error.
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
