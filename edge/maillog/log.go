// Package maillog writes one line for each event of a message and for each session. All lines of a
// message have its spool id.
//
// What happens to the data: a call appends its line to a buffer and returns. A goroutine of the Log
// writes the buffer out: at once when it is large, otherwise within a tenth of a second. Mail never
// waits for the log: if the reader is too slow and the buffer is full, lines are dropped and
// counted, and the count is logged when there is room again.
//
// Untrusted values are bounded and quoted, so that a client can't forge a line or a field.
//
// This log is for postmasters. The daemon has its own log, and metrics; see docs/operations.md.
package maillog

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"time"

	"anymx/edge/mail"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	flushSize  = 32 << 10
	flushAfter = 100 * time.Millisecond
	maxBuffer  = 4 << 20
	maxSpare   = 512 << 10 // a larger buffer is not reused
)

// Log writes lines to one writer. A nil Log writes nothing. It is safe for use
// by many goroutines.
type Log struct {
	w       io.Writer
	now     func() time.Time
	dropped prometheus.Counter

	mu     sync.Mutex
	lines  line   // not yet written out
	spare  []byte // the buffer that was last written out
	lost   int    // lines dropped since the last one that was written
	closed bool

	some chan struct{} // there are lines
	many chan struct{} // there are so many that they are written at once
	stop chan struct{}
	done chan struct{}
}

// Options are the options of New.
type Options struct {
	JSON    bool                  // one JSON object per line, else logfmt
	Now     func() time.Time      // nil: time.Now
	Metrics prometheus.Registerer // nil: not registered
}

// New starts a Log on w. Close ends it.
func New(w io.Writer, options Options) *Log {
	if options.Now == nil {
		options.Now = time.Now
	}
	l := &Log{
		w: w, now: options.Now, lines: line{json: options.JSON},
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "anymx", Subsystem: "maillog", Name: "lines_dropped_total",
			Help: "Mail log lines dropped because the reader of the log was too slow or gone.",
		}),
		some: make(chan struct{}, 1), many: make(chan struct{}, 1),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if options.Metrics != nil {
		options.Metrics.MustRegister(l.dropped)
	}
	go l.run()
	return l
}

// Close writes out all lines and stops the Log. Later lines are lost. It waits for the writer
// without a limit.
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
	if err != nil { // there is nowhere else to report it
		n := bytes.Count(out, []byte{'\n'})
		l.lost += n
		l.dropped.Add(float64(n))
	}
	if cap(out) <= maxSpare {
		l.spare = out[:0]
	}
}

// write appends a line that fill completes. It formats the line under the lock, directly in the
// buffer: that is faster than copying it.
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
		ln.startLine(now, "dropped")
		ln.number("lines", int64(l.lost))
		ln.endLine()
		l.lost = 0
	}
	ln.startLine(now, event)
	fill(ln)
	ln.endLine()
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

// Accepted logs a committed message, before its 250.
func (l *Log) Accepted(env *mail.Envelope) {
	l.write("accepted", func(ln *line) {
		ln.id("id", env.ID)
		ln.address("from", env.Sender)
		if len(env.Recipients) > 0 {
			ln.address("to", env.Recipients[0].Path)
		}
		ln.number("recipients", int64(len(env.Recipients)))
		ln.number("size", env.Size)
		if len(env.Tags) > 0 {
			ln.text("tags", strings.Join(env.Tags, ","))
		}
		if env.Route != "" {
			ln.text("route", env.Route)
		}
		ln.client(&env.Client)
	})
}

// Refused logs a command of a transaction that was refused with 4xx or 5xx. stage is "mail", "rcpt"
// or "data".
func (l *Log) Refused(c *mail.Client, stage string, sender, rcpt mail.Path, r mail.Reply) {
	l.write("refused", func(ln *line) {
		ln.text("stage", stage)
		ln.address("from", sender)
		if !rcpt.IsNull() {
			ln.address("to", rcpt)
		}
		ln.reply("reply", r)
		if r.ID != "" {
			ln.text("reply_id", r.ID)
		}
		ln.client(c)
	})
}

// Delivered logs a recipient for which another server took responsibility.
func (l *Log) Delivered(env *mail.Envelope, rcpt, attempt int, r mail.Result, took time.Duration) {
	l.write("delivered", func(ln *line) {
		ln.recipient(env, rcpt, attempt)
		ln.text("remote", r.Remote)
		ln.reply("reply", r.Reply)
		ln.duration("took", took)
	})
}

// Deferred logs a recipient with another attempt at next.
func (l *Log) Deferred(env *mail.Envelope, rcpt, attempt int, f *mail.Failure, next time.Time) {
	l.write("deferred", func(ln *line) {
		ln.recipient(env, rcpt, attempt)
		ln.why(f)
		ln.time("next", next)
	})
}

// Bounced logs a recipient that failed permanently. dsn is the notification; if it is zero the line
// says why the sender is not notified.
func (l *Log) Bounced(env *mail.Envelope, rcpt, attempt int, f *mail.Failure, dsn mail.ID) {
	l.ended("bounced", env, rcpt, attempt, f, dsn)
}

// Expired logs a recipient that could not be delivered within the lifetime of its message.
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

// Notified logs a notification after which delivery continues: kind is "delay" or "relayed".
func (l *Log) Notified(env *mail.Envelope, kind string, dsn mail.ID) {
	l.write("notified", func(ln *line) {
		ln.id("id", env.ID)
		ln.address("from", env.Sender)
		ln.text("kind", kind)
		ln.id("dsn", dsn)
	})
}

// Removed logs a message that an operator deleted, or that failed without a sender to notify.
func (l *Log) Removed(env *mail.Envelope, why string) {
	l.write("removed", func(ln *line) {
		ln.id("id", env.ID)
		ln.address("from", env.Sender)
		ln.text("why", why)
	})
}

// Session holds the counters of a connection that has ended.
type Session struct {
	Client            mail.Client
	Duration          time.Duration
	Commands, Errors  int
	Messages, Refused int // committed transactions; refused recipients and messages
	In, Out           int64
	Reason            string
}

// Session logs a connection that has ended.
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
