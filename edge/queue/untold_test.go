package queue

import (
	"context"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/mail"
	"anymx/edge/maillog"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

// logbook holds what is logged.
type logbook struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *logbook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logbook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// A message that ends without its sender hearing of it says so in both logs and
// in a metric, with its id and the reason. Only NOTIFY=NEVER is quiet.
func TestUntoldIsLoud(t *testing.T) {
	untold := func(env func(*mail.Envelope), courier func(*Attempt) *mail.Failure) func(*node) mail.ID {
		return func(n *node) mail.ID {
			n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) { return refuse(a, courier(a)), nil })
			m := n.commit(env)
			n.queue.Accepted(m)
			return m.Envelope.ID
		}
	}
	refused := func(*Attempt) *mail.Failure { return permFail }
	for name, tt := range map[string]struct {
		run    func(*node) mail.ID
		log    string // pattern, ID for the id; "": nothing of it in the daemon's log
		mail   string // the mail log
		metric string
	}{
		"null sender": {
			untold(func(e *mail.Envelope) { e.Sender = mail.Path{} }, refused),
			`level=WARN msg="queue: message failed and nobody is notified" id=ID recipient=0 nodsn="null sender" why=".*550 5.1.1 no such user"`,
			`event=bounced id=ID .* why=".*550 5.1.1 no such user" nodsn="null sender"`, "anymx_queue_double_bounces_total",
		},
		"null sender, expired": {
			untold(func(e *mail.Envelope) { e.Sender = mail.Path{} }, func(*Attempt) *mail.Failure { return tempFail }),
			`level=WARN msg="queue: message failed and nobody is notified" id=ID recipient=0 nodsn="null sender" why=".*451 4.2.1 not now"`,
			`event=expired id=ID .* nodsn="null sender"`, "anymx_queue_double_bounces_total",
		},
		"our own notification": {
			untold(func(e *mail.Envelope) { e.Sender, e.Origin, e.NoDSN = mail.Path{}, mail.Local, true }, refused),
			`level=ERROR msg="queue: message failed and nobody is notified" id=ID recipient=0 nodsn="null sender"`,
			`event=bounced id=ID .* nodsn="null sender"`, "anymx_queue_double_bounces_total",
		},
		"sender not genuine": {
			untold(func(e *mail.Envelope) { e.NoDSN = true }, refused),
			`level=WARN msg="queue: message failed and nobody is notified" id=ID recipient=0 nodsn="sender not verified" why=".*550 5.1.1 no such user"`,
			`event=bounced id=ID .* nodsn="sender not verified"`, "anymx_queue_failures_untold_total",
		},
		"NOTIFY=NEVER": {
			untold(func(e *mail.Envelope) { e.Recipients[0].Notify = mail.NotifyNever }, refused),
			"", `event=bounced id=ID .* nodsn="not requested"`, "anymx_queue_failures_untold_total",
		},
		"missing from the spool": {
			func(n *node) mail.ID {
				n.courier.set(always(tempFail))
				id := n.accept()
				synctest.Wait()
				if err := n.spool.Remove(id); err != nil {
					n.t.Fatal(err)
				}
				return id
			},
			`level=ERROR msg="queue: message is missing from the spool, nobody is notified" id=ID`, "", "anymx_queue_vanished_total",
		},
		"missing when held": {
			func(n *node) mail.ID {
				n.courier.set(always(tempFail))
				id := n.accept()
				synctest.Wait()
				if err := n.spool.Remove(id); err != nil {
					n.t.Fatal(err)
				}
				if a, err := n.queue.Hold("look", id); err != nil || len(a.Missing) != 1 {
					n.t.Errorf("hold: %+v, %v", a, err)
				}
				return id
			},
			`level=ERROR msg="queue: message is missing from the spool, nobody is notified" id=ID`, "", "anymx_queue_vanished_total",
		},
		"deleted by an operator": {
			func(n *node) mail.ID {
				n.courier.set(always(tempFail))
				id := n.accept()
				synctest.Wait()
				if _, err := n.queue.Delete(id); err != nil {
					n.t.Error(err)
				}
				return id
			},
			`level=WARN msg="queue: message deleted by an operator, nobody is notified" id=ID`, `event=removed id=ID .* why=operator`, "anymx_queue_deleted_total",
		},
	} {
		t.Run(name, func(t *testing.T) {
			kit.Bubble(t, func(t *testing.T) {
				var daemon, mailbook logbook
				lines := maillog.New(&mailbook, maillog.Options{})
				reg := prometheus.NewRegistry()
				n := newNode(t, nil, func(o *Options) {
					o.Log, o.MailLog, o.Metrics = slog.New(slog.NewTextHandler(&daemon, nil)), lines, reg
					o.Schedule.Expire = time.Hour
				}).run()
				defer n.close()
				id := tt.run(n)
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				n.empty()
				lines.Close()
				matches(t, daemon.String(), tt.log, id)
				if tt.mail != "" {
					matches(t, mailbook.String(), tt.mail, id)
				}
				if tt.log == "" && strings.Contains(daemon.String(), id.String()) {
					t.Errorf("the sender wanted it so, and it is logged:\n%s", daemon.String())
				}
				wantMetrics(t, reg, map[string]float64{tt.metric: 1})
			})
		})
	}
}

// matches looks for a line, with the id in the place of ID.
func matches(t *testing.T, text, pattern string, id mail.ID) {
	t.Helper()
	if !regexp.MustCompile(strings.ReplaceAll(pattern, "ID", id.String())).MatchString(text) {
		t.Errorf("no line like %s in:\n%s", pattern, text)
	}
}

// A notification that the spool does not take is an error in the log each time.
// A failure waits until it can be told; that a message was passed on is lost.
func TestUnstoredNotificationIsLoud(t *testing.T) {
	for kind, tt := range map[string]struct {
		answer func(*Attempt) []mail.Result
		lost   bool
	}{
		kindFailure: {func(a *Attempt) []mail.Result { return refuse(a, permFail) }, false},
		kindRelayed: {func(a *Attempt) []mail.Result {
			results := deliver(a)
			results[0].Relayed = true
			return results
		}, true},
	} {
		t.Run(kind, func(t *testing.T) {
			kit.Bubble(t, func(t *testing.T) {
				var daemon logbook
				reg := prometheus.NewRegistry()
				s, err := spool.Open(spool.Options{Dir: "spool", FS: vfs.NewMem(), MaxMessages: 1, DiskFree: func(string) (int64, error) { return 1 << 40, nil }})
				if err != nil {
					t.Fatal(err)
				}
				n := &node{t: t, spool: s, courier: &fakeCourier{}}
				n.queue, err = New(Options{
					Spool: s, Courier: n.courier, Hostname: func() string { return "mx.example.net" }, Metrics: reg, Rand: func() float64 { return .5 },
					Log: slog.New(slog.NewTextHandler(&daemon, nil)),
				})
				if err != nil {
					t.Fatal(err)
				}
				defer n.close()
				n.run()
				n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) { return tt.answer(a), nil })
				id := n.accept(recipient("b", mail.NotifySuccess|mail.NotifyFailure))
				synctest.Wait()
				if left := len(n.stored()); (left == 0) != tt.lost {
					t.Errorf("%d messages are left", left)
				}
				lost := "false"
				if tt.lost {
					lost = "true"
				}
				matches(t, daemon.String(), `level=ERROR msg="queue: notification could not be stored" id=ID kind=`+kind+` lost=`+lost+` err=`, id)
				wantMetrics(t, reg, map[string]float64{"anymx_queue_notifications_unstored_total": 1, "anymx_queue_notifications_total": 0})
			})
		})
	}
}
