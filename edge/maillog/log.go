// Package maillog writes one line for each thing that happens to a message and
// for each session, with the spool id through all of a message's life.
//
// What happens to the data: a call makes its line in a buffer and returns; a
// goroutine of the Log writes the buffer out, at once when it has grown, else
// within a tenth of a second. Mail never waits for a log: when the reader of
// the log is too slow and the buffer is full, lines are dropped, counted, and
// the count is logged when there is room again.
//
// Values that came from outside are bounded and quoted, so that nobody can
// forge a line, or a field of one.
//
// The lines are the postmaster's. The daemon's own log is slog's, and figures
// are metrics; see docs/operations.md.
package maillog

import (
	"bytes"
	"io"
	"sync"
	"time"

	"anymx/edge/mail"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	flushSize  = 32 << 10
	flushAfter = 100 * time.Millisecond
	maxBuffer  = 4 << 20
	maxSpare   = 512 << 10 // a larger buffer is not kept for the next lines
)

// Log writes lines to one writer. A nil Log writes nothing. It is safe for use
// by many goroutines.
type Log struct {
	w       io.Writer
	now     func() time.Time
	dropped prometheus.Counter

	mu     sync.Mutex
	lines  line   // not written yet
	spare  []byte // the buffer that was written last
	lost   int    // lines dropped since the last that was not
	closed bool

	some chan struct{} // there are lines
	many chan struct{} // there are so many that they don't wait for more
	stop chan struct{}
	done chan struct{}
}

// Options of New.
type Options struct {
	JSON    bool                  // one JSON object a line, else logfmt
	Now     func() time.Time      // nil: time.Now
	Metrics prometheus.Registerer // nil: not registered
}

// New starts a Log on w. Close ends it.
func New(w io.Writer, o Options) *Log {
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &Log{
		w: w, now: o.Now, lines: line{json: o.JSON},
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "anymx", Subsystem: "maillog", Name: "lines_dropped_total",
			Help: "Mail log lines dropped because the log's reader was too slow, or gone.",
		}),
		some: make(chan struct{}, 1), many: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if o.Metrics != nil {
		o.Metrics.MustRegister(l.dropped)
	}
	go l.run()
	return l
}

// Close writes what is left and ends the Log. Lines after it are lost. It waits
// for the writer, however long that takes.
func (l *Log) Close() {
	if l == nil {
		return
	}
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.stop)
	}
	l.mu.Unlock()
	<-l.done
}

func (l *Log) run() {
	defer close(l.done)
	gather := time.NewTimer(0)
	defer gather.Stop()
	for {
		select {
		case <-l.some:
		case <-l.stop:
			l.flush()
			return
		}
		gather.Reset(flushAfter)
		select {
		case <-gather.C:
		case <-l.many:
		case <-l.stop:
		}
		l.flush()
	}
}

func (l *Log) flush() {
	l.mu.Lock()
	out := l.lines.b
	l.lines.b, l.spare = l.spare[:0], nil
	l.mu.Unlock()
	var err error
	if len(out) > 0 {
		_, err = l.w.Write(out)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil { // there is nowhere else to complain
		n := bytes.Count(out, []byte{'\n'})
		l.lost += n
		l.dropped.Add(float64(n))
	}
	if cap(out) <= maxSpare {
		l.spare = out[:0]
	}
}

// write makes a line by fill. The line is made under the lock, in the buffer
// itself: it is shorter than a copy of it would take.
func (l *Log) write(event string, fill func(*line)) {
	if l == nil {
		return
	}
	now := l.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := &l.lines
	if l.closed || len(ln.b) > maxBuffer {
		l.lost++
		l.dropped.Inc()
		return
	}
	if len(ln.b) == 0 {
		poke(l.some)
	}
	if l.lost > 0 {
		ln.begin(now, "dropped")
		ln.number("lines", int64(l.lost))
		ln.end()
		l.lost = 0
	}
	ln.begin(now, event)
	fill(ln)
	ln.end()
	if len(ln.b) > flushSize {
		poke(l.many)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Accepted returns a message that is committed, before its 250.
func (l *Log) Accepted(env *mail.Envelope) {
	l.write("accepted", func(ln *line) {
		ln.id("id", env.ID)
		ln.address("from", env.Sender)
		if len(env.Recipients) > 0 {
			ln.address("to", env.Recipients[0].Path)
		}
		ln.number("recipients", int64(len(env.Recipients)))
		ln.number("size", env.Size)
		ln.client(&env.Client)
	})
}

// Refused returns a command of a transaction that was answered 4xx or 5xx. stage is "mail", "rcpt"
// or "data".
func (l *Log) Refused(c *mail.Client, stage string, sender, rcpt mail.Path, r mail.Reply) {
	l.write("refused", func(ln *line) {
		ln.text("stage", stage)
		ln.address("from", sender)
		if !rcpt.IsNull() {
			ln.address("to", rcpt)
		}
		ln.reply("reply", r)
		ln.client(c)
	})
}

// Delivered returns a recipient that another server took responsibility for.
func (l *Log) Delivered(env *mail.Envelope, rcpt, attempt int, r mail.Result, took time.Duration) {
	l.write("delivered", func(ln *line) {
		ln.recipient(env, rcpt, attempt)
		ln.text("remote", r.Remote)
		ln.reply("reply", r.Reply)
		ln.duration("took", took)
	})
}

// Deferred returns a recipient that is tried again at next.
func (l *Log) Deferred(env *mail.Envelope, rcpt, attempt int, f *mail.Failure, next time.Time) {
	l.write("deferred", func(ln *line) {
		ln.recipient(env, rcpt, attempt)
		ln.why(f)
		ln.time("next", next)
	})
}

// Bounced returns a recipient that failed for good; dsn is the notification. Where it is zero the
// line says why the sender is not notified.
func (l *Log) Bounced(env *mail.Envelope, rcpt, attempt int, f *mail.Failure, dsn mail.ID) {
	l.ended("bounced", env, rcpt, attempt, f, dsn)
}

// Expired returns a recipient that was tried for as long as the queue keeps mail.
func (l *Log) Expired(env *mail.Envelope, rcpt, attempts int, f *mail.Failure, dsn mail.ID) {
	l.ended("expired", env, rcpt, attempts, f, dsn)
}

func (l *Log) ended(event string, env *mail.Envelope, rcpt, attempt int, f *mail.Failure, dsn mail.ID) {
	l.write(event, func(ln *line) {
		ln.recipient(env, rcpt, attempt)
		ln.address("from", env.Sender)
		ln.why(f)
		switch {
		case !dsn.IsZero():
			ln.id("dsn", dsn)
		case rcpt >= 0 && rcpt < len(env.Recipients):
			if why := env.NoDSNReason(rcpt, mail.NotifyFailure); why != mail.DSNAllowed {
				ln.text("nodsn", string(why))
			}
		}
	})
}

// Notified returns a notification that does not end the message: kind is "delay" or "relayed".
func (l *Log) Notified(env *mail.Envelope, kind string, dsn mail.ID) {
	l.write("notified", func(ln *line) {
		ln.id("id", env.ID)
		ln.address("from", env.Sender)
		ln.text("kind", kind)
		ln.id("dsn", dsn)
	})
}

// Removed returns a message that was taken out of the queue by hand, or that had nobody left to be
// told of its failure.
func (l *Log) Removed(env *mail.Envelope, why string) {
	l.write("removed", func(ln *line) {
		ln.id("id", env.ID)
		ln.address("from", env.Sender)
		ln.text("why", why)
	})
}

// Session is what a connection did, once it has ended.
type Session struct {
	Client            mail.Client
	Duration          time.Duration
	Commands, Errors  int
	Messages, Refused int // transactions committed; recipients and messages refused
	In, Out           int64
	Reason            string
}

// Session returns the line of a connection.
func (l *Log) Session(s *Session) {
	l.write("session", func(ln *line) {
		ln.client(&s.Client)
		ln.text("end", s.Reason)
		ln.number("messages", int64(s.Messages))
		ln.number("refused", int64(s.Refused))
		ln.number("commands", int64(s.Commands))
		ln.number("errors", int64(s.Errors))
		ln.number("in", s.In)
		ln.number("out", s.Out)
		ln.duration("took", s.Duration)
	})
}
