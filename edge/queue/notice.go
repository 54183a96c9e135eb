package queue

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// Kinds of notification, as logs and metrics name them.
const (
	kindFailure = "failure"
	kindDelay   = "delay"
	kindRelayed = "relayed"
)

// notify stores the notices of a verdict, each together with the new state of the original's leg or its
// removal, and returns those that it could store, in their order.
func (q *Queue) notify(e *entry, m *spool.Message, v *verdict) (stored []*spool.Message, err error) {
	for i := range v.notices {
		n := &v.notices[i]
		dsn, err := q.write(e, m, n, true)
		var original *originalError
		if errors.As(err, &original) {
			// The sender has to hear of it even if the original can't be read.
			q.options.Log.Error("queue: original could not be returned", "id", m.Envelope.ID, "err", err)
			dsn, err = q.write(e, m, n, false)
		}
		if err != nil {
			return stored, fmt.Errorf("%s: %w", n.kind, err)
		}
		q.metrics.notified[n.kind].Inc()
		stored = append(stored, dsn)
	}
	return stored, nil
}

// originalError says that the original's body could not be read.
type originalError struct{ error }

func (e *originalError) Unwrap() error { return e.error }

// write stores one notice; original says whether it returns the original.
func (q *Queue) write(e *entry, m *spool.Message, n *notice, original bool) (*spool.Message, error) {
	d, err := q.options.Spool.BeginDraft()
	if err != nil {
		return nil, err
	}
	defer d.Discard()
	dsn := &mail.DSN{
		ID: d.ID(), Date: q.options.Now(), Hostname: q.options.Hostname(), Node: q.options.Node,
		Original: n.original(m.Envelope), Recipients: n.about, MaxFull: q.options.ReturnFull,
		HideRemote: m.Envelope.Origin == mail.Inbound,
	}
	if _, err := rand.Read(dsn.Random[:]); err != nil {
		return nil, err
	}
	var body *spool.Body
	if original {
		if body, err = m.Body(); err != nil {
			return nil, &originalError{err}
		}
		defer body.Close()
		dsn.Message = &watched{r: body}
	}
	if err := mail.WriteDSN(d, dsn); err != nil {
		if w, ok := dsn.Message.(*watched); ok && w.err != nil {
			return nil, &originalError{err}
		}
		return nil, fmt.Errorf("notification about %s: %w", m.Envelope.ID, err)
	}
	return q.options.Spool.Replace(e.message, int(e.leg), n.state, d, dsn.Envelope())
}

// original returns the envelope that the notice describes. Where the clock was set since the message came,
// its arrival is dated by today's clock: a notice that says 1970 helps nobody.
func (n *notice) original(env *mail.Envelope) *mail.Envelope {
	if n.arrived.IsZero() || env.Arrived.Sub(n.arrived).Abs() < time.Minute {
		return env
	}
	set := *env
	set.Arrived = n.arrived
	return &set
}

// watched remembers whether it was the reading that failed.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

// notified reports whether recipient n is in the notice of failures.
func (v *verdict) notified(n int) bool {
	for i := range v.notices {
		for _, r := range v.notices[i].about {
			if v.notices[i].kind == kindFailure && r.Result.Recipient == n {
				return true
			}
		}
	}
	return false
}
