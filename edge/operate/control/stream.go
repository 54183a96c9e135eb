package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"anymx/edge/operate/api"
)

// jsonLines is the media type of one JSON value per line.
const jsonLines = "application/x-ndjson"

// lingering is how long the rest of a refused request's body is read and discarded, so that its
// sender gets to read the reason.
const lingering = 2 * time.Second

// HandleStream adds an endpoint of the control socket under pattern whose answer is a sequence of
// values, each a line of JSON that is sent at once. Neither the request nor its body has a time
// limit: serve must limit both. The body may be read while lines are sent, and reading fails after
// the client is gone.
//
// An error of serve before the first line is answered as Handle does; a later one is the last line,
// in the form of an *api.Error.
func (e *Endpoint) HandleStream(pattern string, serve func(r *http.Request, send func(any) error) error) {
	e.socket.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		control := http.NewResponseController(w)
		if err := errors.Join(control.EnableFullDuplex(), control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{})); err != nil {
			e.log.Error("control request can't be streamed", "request", pattern, "err", err)
		}
		w.Header().Set("Cache-Control", "no-store")
		status, begun := http.StatusOK, false
		send := func(value any) error {
			var line bytes.Buffer
			enc := json.NewEncoder(&line)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(value); err != nil {
				return err
			}
			if !begun {
				w.Header().Set("Content-Type", jsonLines)
				w.WriteHeader(status)
				begun = true
			}
			if _, err := w.Write(line.Bytes()); err != nil {
				return err
			}
			return control.Flush()
		}
		if err := serve(r, send); err != nil {
			refusal := asError(err)
			if refusal.Code == api.Internal {
				e.log.Error("control request failed", "request", pattern, "err", err)
			}
			if !begun {
				status = httpStatus(refusal.Code)
			}
			_ = send(refusal) // fails only if the client is gone
		}
		e.requests.WithLabelValues(pattern, strconv.Itoa(status)).Inc()
		if control.SetReadDeadline(time.Now().Add(lingering)) == nil {
			_, _ = io.Copy(io.Discard, r.Body) // makes room for the sender
		}
	})
}

// Caller returns the user that sent a request over the control socket; ok is false if that is not
// known.
func Caller(r *http.Request) (uid int, ok bool) {
	p := peerOf(r.Context())
	return p.uid, p.uid >= 0
}
