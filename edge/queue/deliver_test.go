package queue

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/mail"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

// Only those who have not got it are tried again, also after a crash.
func TestPartialDelivery(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		n := newNode(t, fs, nil).run()
		n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
			results := deliver(a)
			for i := range results {
				if results[i].Recipient == 1 {
					results[i].Failure = tempFail
				}
			}
			return results[:len(results):len(results)], nil
		})
		id := n.accept(recipient("a", 0), recipient("b", 0), recipient("c", 0))
		synctest.Wait()
		n.want(0, 1, 0)
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		time.Sleep(30 * time.Second)
		synctest.Wait()
		calls := n.courier.of(id)
		if len(calls) != 2 || !slices.Equal(calls[1].pending, []int{1}) || calls[1].attempt != 2 {
			t.Fatalf("tries: %+v", calls)
		}
		n.close()

		after := newNode(t, crashed, nil).run()
		defer after.close()
		time.Sleep(time.Minute)
		synctest.Wait()
		calls = after.courier.of(id)
		if len(calls) != 1 || !slices.Equal(calls[0].pending, []int{1}) || calls[0].attempt != 2 {
			t.Fatalf("tries after the crash: %+v", calls)
		}
		after.empty()
	})
}

// A try is on stable storage before it is made.
func TestTryIsRecordedFirst(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		n := newNode(t, fs, nil).run()
		defer n.close()
		var crashed *vfs.MemFS
		n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
			if a.Number == 2 {
				crashed = fs.CrashClone(vfs.CrashCloneCfg{})
				return deliver(a), nil
			}
			return refuse(a, tempFail), nil
		})
		id := n.accept()
		time.Sleep(time.Minute)
		synctest.Wait()
		n.empty()

		after := newNode(t, crashed, nil)
		defer after.close()
		if st := after.state(id); st.Attempts != 2 || st.LastAttempt.IsZero() {
			t.Errorf("after a crash in the second attempt: %+v", st)
		}
		after.run()
		time.Sleep(time.Minute)
		synctest.Wait()
		if calls := after.courier.of(id); len(calls) != 1 || calls[0].attempt != 3 {
			t.Errorf("tries after the crash: %+v", calls)
		}
	})
}

// One notification tells of all that failed in a try, and is delivered.
func TestFailureIsTold(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		n := newNode(t, nil, func(o *Options) { o.Metrics = reg }).run()
		defer n.close()
		n.courier.set(always(permFail))
		id := n.accept(recipient("b", 0), recipient("c", mail.NotifyNever), recipient("d", mail.NotifyFailure))
		synctest.Wait()
		bounces := n.courier.bounces()
		if len(bounces) != 1 || bounces[0].attempt != 1 {
			t.Fatalf("%d notifications", len(bounces))
		}
		body := bounces[0].body
		for _, want := range []string{"Final-Recipient: rfc822; b@example.net\r\n", "Final-Recipient: rfc822; d@example.net\r\n", "To: <a@example.com>\r\n",
			"Final-Log-ID: " + id.String() + "\r\n", "Subject: " + id.String() + "\r\n", "Reporting-MTA: dns; mx.example.net\r\n", "mx.example.net, node ams1.\r\n"} {
			if !strings.Contains(body, want) {
				t.Errorf("the notification lacks %q", want)
			}
		}
		if strings.Contains(body, "c@example.net") || strings.Contains(body, "192.0.2.9") {
			t.Errorf("the notification tells too much:\n%s", body)
		}
		n.empty()
		wantMetrics(t, reg, map[string]float64{"anymx_queue_failures_untold_total": 1, "anymx_queue_notifications_total": 1, "anymx_queue_double_bounces_total": 0})
	})
}

// wantMetrics adds up what the counters of each name hold.
func wantMetrics(t *testing.T, reg *prometheus.Registry, want map[string]float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			got[f.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s is %v, want %v", name, v, value)
		}
	}
}

func TestMetricsAreSound(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	n := newNode(t, vfs.NewMem(), func(o *Options) { o.Metrics = reg })
	defer n.close()
	if families, err := reg.Gather(); err != nil || len(families) < 10 {
		t.Errorf("%d families, %v", len(families), err)
	}
	if _, err := New(Options{Spool: n.spool, Courier: n.courier, Hostname: func() string { return "mx.example.net" }, Metrics: reg}); err == nil {
		t.Error("the same metrics were registered twice")
	}
}

// A notification that can't be delivered ends in the log.
func TestDoubleBounce(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		reg := prometheus.NewRegistry()
		n := newNode(t, nil, func(o *Options) { o.Metrics = reg }).run()
		defer n.close()
		n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) { return refuse(a, permFail), nil })
		n.accept()
		synctest.Wait()
		if n.courier.count() != 2 {
			t.Errorf("%d attempts", n.courier.count())
		}
		n.empty()
		wantMetrics(t, reg, map[string]float64{"anymx_queue_double_bounces_total": 1, "anymx_queue_notifications_total": 1, "anymx_queue_failures_untold_total": 0})
	})
}

// Whenever the power goes: the message is there, or the notification is, or the
// notification has been delivered.
func TestNotificationIsStoredBeforeTheOriginalGoes(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		var clones []*vfs.MemFS
		var done []bool // the notification had been delivered
		var told, armed atomic.Bool
		var mu sync.Mutex
		mem := vfs.NewCrashableMem()
		// Before each write and sync the power could go.
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if armed.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
				mu.Lock()
				clones, done = append(clones, mem.CrashClone(vfs.CrashCloneCfg{})), append(done, told.Load())
				mu.Unlock()
			}
			return nil
		}))
		n := newNode(t, fs, nil)
		n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
			if a.Message.Envelope.Sender.IsNull() {
				told.Store(true)
				return deliver(a), nil
			}
			return refuse(a, permFail), nil
		})
		m := n.commit(nil)
		armed.Store(true)
		n.run()
		n.queue.Accepted(m)
		time.Sleep(time.Second)
		synctest.Wait()
		n.empty()
		armed.Store(false)
		n.close()

		if len(clones) < 4 {
			t.Fatalf("only %d moments", len(clones))
		}
		seen := make(map[string]int)
		for i, clone := range clones {
			after := newNode(t, clone, nil)
			var originals, bounces int
			for _, id := range after.stored() {
				msg, err := after.spool.Load(id)
				if err != nil {
					t.Fatal(err)
				}
				if msg.Envelope.Sender.IsNull() {
					bounces++
				} else {
					originals++
				}
			}
			switch {
			case originals == 1 && bounces == 0:
				seen["original"]++
			case originals == 0 && bounces == 1:
				seen["notification"]++
			case originals == 0 && bounces == 0 && done[i]:
				seen["told"]++
			default:
				t.Errorf("moment %d: %d originals, %d notifications, told %v", i, originals, bounces, done[i])
			}
			after.close()
		}
		if seen["original"] == 0 || seen["notification"] == 0 {
			t.Errorf("moments: %v", seen)
		}
	})
}

// A sender who asked for it hears once that the message still waits.
func TestDelayIsToldOnce(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		soon := func(o *Options) { o.Schedule.DelayNotice = 40 * time.Minute }
		n := newNode(t, fs, soon).run()
		n.courier.set(always(tempFail))
		start := time.Now()
		asked := n.accept(recipient("b", mail.NotifyDelay), recipient("c", mail.NotifyFailure))
		n.accept(recipient("b", 0))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		bounces := n.courier.bounces()
		if len(bounces) != 1 {
			t.Fatalf("%d notifications", len(bounces))
		}
		if age := bounces[0].at.Sub(start); age < 40*time.Minute || age > 70*time.Minute {
			t.Errorf("told after %v", age)
		}
		body := bounces[0].body
		if !strings.Contains(body, "Action: delayed\r\n") || !strings.Contains(body, asked.String()) || strings.Contains(body, "c@example.net") ||
			!strings.Contains(body, "Will-Retry-Until: "+start.Add(120*time.Hour).UTC().Format("Mon, 2 Jan 2006 15:04:05 -0700")) {
			t.Errorf("the notification:\n%s", body)
		}
		n.want(0, 2, 0)
		n.close()

		again := newNode(t, fs, soon).run() // a restart does not tell again
		defer again.close()
		again.courier.set(always(tempFail))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if len(again.courier.bounces()) != 0 || !again.state(asked).DelayNoticed {
			t.Errorf("told again after a restart")
		}
	})
}

func TestRelayedIsTold(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
			results := deliver(a)
			for i := range results {
				results[i].Relayed = true
			}
			return results, nil
		})
		n.accept(recipient("b", mail.NotifySuccess), recipient("c", 0))
		synctest.Wait()
		bounces := n.courier.bounces()
		if len(bounces) != 1 || !strings.Contains(bounces[0].body, "Action: relayed\r\n") || strings.Contains(bounces[0].body, "c@example.net") {
			t.Fatalf("notifications: %v", bounces)
		}
		n.empty()
	})
}

// A full spool can't take a notification. Then the message has to wait, for its
// sender would never hear.
func TestNotificationThatCannotBeStored(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		s, err := spool.Open(spool.Options{Dir: "spool", FS: vfs.NewMem(), MaxMessages: 2, DiskFree: func(string) (int64, error) { return 1 << 40, nil }})
		if err != nil {
			t.Fatal(err)
		}
		n := &node{t: t, spool: s, courier: &fakeCourier{}}
		if n.queue, err = New(Options{Spool: s, Courier: n.courier, Hostname: func() string { return "mx.example.net" }, Rand: func() float64 { return .5 }}); err != nil {
			t.Fatal(err)
		}
		defer n.close()
		n.run()
		n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
			results := refuse(a, permFail)
			if a.Number == 1 && len(results) == 2 {
				results[0].Failure = nil
			}
			return results, nil
		})
		held := n.commit(func(e *mail.Envelope) { e.Sender = mail.Path{Local: "other", Domain: "example.com"} })
		id := n.accept(recipient("b", 0), recipient("c", 0))
		synctest.Wait()
		n.want(0, 1, 0)
		st := n.state(id)
		if st.Recipients[0].Status != spool.Delivered || st.Recipients[1].Status != spool.Pending || !strings.Contains(st.Recipients[1].Last, "no such user") {
			t.Fatalf("state %+v", st)
		}
		if err := s.Remove(held.Envelope.ID); err != nil { // room again
			t.Fatal(err)
		}
		time.Sleep(storeWait)
		synctest.Wait()
		if calls := n.courier.of(id); len(calls) != 2 || !slices.Equal(calls[1].pending, []int{1}) {
			t.Fatalf("tries %+v", calls)
		}
		if len(n.courier.bounces()) != 1 {
			t.Errorf("%d notifications", len(n.courier.bounces()))
		}
		n.empty()
	})
}

// What a courier does wrong costs a try, not a message.
func TestCourierErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(*Attempt) ([]mail.Result, error)
		status string // of the notification; "" if the message waits
	}{
		"an error":            {func(*Attempt) ([]mail.Result, error) { return nil, io.ErrUnexpectedEOF }, ""},
		"no results":          {func(*Attempt) ([]mail.Result, error) { return nil, nil }, ""},
		"results of nobody":   {func(*Attempt) ([]mail.Result, error) { return []mail.Result{{Recipient: 9}, {Recipient: -1}}, nil }, ""},
		"one result twice":    {func(*Attempt) ([]mail.Result, error) { return []mail.Result{{Recipient: 0}, {Recipient: 0}}, nil }, ""},
		"a temporary failure": {func(*Attempt) ([]mail.Result, error) { return nil, tempFail }, ""},
		"a permanent failure": {func(*Attempt) ([]mail.Result, error) { return nil, errors.Join(permFail) }, "Status: 5.1.1"},
	} {
		t.Run(name, func(t *testing.T) {
			kit.Bubble(t, func(t *testing.T) {
				n := newNode(t, nil, nil).run()
				defer n.close()
				n.courier.set(func(_ context.Context, a *Attempt) ([]mail.Result, error) {
					if a.Message.Envelope.Sender.IsNull() || a.Number > 1 {
						return deliver(a), nil
					}
					return tt.answer(a)
				})
				id := n.accept(recipient("b", 0), recipient("c", 0))
				synctest.Wait()
				if bounces := n.courier.bounces(); tt.status != "" {
					if len(bounces) != 1 || strings.Count(bounces[0].body, tt.status) != 2 {
						t.Errorf("notifications: %v", bounces)
					}
					n.empty()
					return
				}
				n.want(0, 1, 0)
				if st := n.state(id); st.Attempts != 1 || time.Until(st.Due) != 30*time.Second {
					t.Errorf("state %+v", st)
				}
				time.Sleep(30 * time.Second)
				synctest.Wait()
				n.empty()
			})
		})
	}
}

// insist gives up neither too soon nor never.
func TestInsist(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		q := &Queue{options: Options{Log: discard, Now: time.Now}, stopped: make(chan struct{})}
		q.metrics, _ = newMetrics(q, nil)
		calls, start := 0, time.Now()
		if !q.insist("x", mail.ID{}, func() error {
			if calls++; calls < 4 {
				return io.ErrNoProgress
			}
			return nil
		}) || calls != 4 || time.Since(start) != 7*time.Second {
			t.Errorf("%d calls in %v", calls, time.Since(start))
		}
		for _, err := range []error{spool.ErrClosed, spool.ErrEngine} {
			if q.insist("x", mail.ID{}, func() error { return err }) {
				t.Errorf("insists after %v", err)
			}
		}
		if !q.insist("x", mail.ID{}, func() error { return spool.ErrNotFound }) {
			t.Error("what is gone need not be written")
		}
		go func() { time.Sleep(time.Hour); close(q.stopped) }()
		if q.insist("x", mail.ID{}, func() error { return io.ErrNoProgress }) {
			t.Error("insists though the queue stops")
		}
	})
}
