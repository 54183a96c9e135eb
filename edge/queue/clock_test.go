package queue

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
	"anymx/edge/spool"
	"anymx/tests/kit"
)

const year = 365 * 24 * time.Hour

// steps are the ways in which a wall clock may be wrong, or be set: the first two alone under the
// race detector, which takes a minute for all of them.
var steps = func() []time.Duration {
	all := []time.Duration{10 * year, -10 * year, 30 * time.Hour, -time.Hour}
	if racing {
		return all[:2]
	}
	return all
}()

// wallClock is a clock that a test sets.
type wallClock struct{ off atomic.Int64 }

func (w *wallClock) step(by time.Duration) { w.off.Add(int64(by)) }
func (w *wallClock) now() time.Time        { return time.Now().Add(time.Duration(w.off.Load())) }

// use has a queue read the clock. Its messages expire after twelve hours, for the tests' sake.
func (w *wallClock) use(o *Options) { o.Now, o.Schedule.Expire = w.now, 12*time.Hour }

// wantAttempts wants attempts of id by the schedule: from the one at start on, none further apart than the
// longest wait, and none closer than the shortest.
func wantAttempts(t *testing.T, n *node, id mail.ID, start time.Time, atLeast int) {
	t.Helper()
	calls := n.courier.of(id)
	if len(calls) < atLeast {
		t.Errorf("%d attempts, want %d", len(calls), atLeast)
	}
	last := start
	for i, c := range calls {
		if gap := c.at.Sub(last); gap > time.Hour || i > 0 && gap < 30*time.Second {
			t.Errorf("attempt %d comes %v after the one before", i+1, gap)
		}
		last = c.at
	}
}

// A clock that is set while the queue runs changes neither when messages are attempted nor how long.
func TestClockIsSetInARun(t *testing.T) {
	for _, by := range steps {
		t.Run(by.String(), func(t *testing.T) {
			kit.Bubble(t, func(t *testing.T) {
				var wall wallClock
				n := newNode(t, nil, wall.use)
				n.courier.set(always(tempFail)) // before a worker may deliver
				n.run()
				defer n.close()
				start := time.Now()
				id := n.commit(func(e *mail.Envelope) { e.Arrived = wall.now() })
				n.queue.Accepted(id)
				time.Sleep(2 * time.Hour)
				wall.step(by)
				time.Sleep(3*time.Hour + time.Minute)
				synctest.Wait()
				wantAttempts(t, n, id.Envelope.ID, start, 10)
				items, err := n.queue.Show(id.Envelope.ID)
				if err != nil {
					t.Fatal(err)
				}
				item := items[0]
				if wait := item.Due.Sub(wall.now()); wait <= 0 || wait > time.Hour {
					t.Errorf("shown as due in %v", wait)
				}
				if left := item.Expires.Sub(wall.now()); left < 6*time.Hour || left > 7*time.Hour {
					t.Errorf("shown to expire in %v", left)
				}
				time.Sleep(6 * time.Hour)
				synctest.Wait()
				if b := n.courier.bounces(); len(b) != 0 {
					t.Fatalf("bounced after %v", b[0].at.Sub(start))
				}
				n.courier.set(nil)
				time.Sleep(time.Hour)
				synctest.Wait()
				n.empty()
				if b := n.courier.bounces(); len(b) != 0 {
					t.Fatal("delivered and bounced")
				}
			})
		})
	}
}

// A message whose only attempts fail expires after Schedule.Expire of the time that passed, and the
// notification tells times of the clock as it is set then.
func TestExpiresThoughTheClockIsSet(t *testing.T) {
	for _, by := range steps {
		t.Run(by.String(), func(t *testing.T) {
			kit.Bubble(t, func(t *testing.T) {
				var wall wallClock
				n := newNode(t, nil, wall.use)
				n.courier.set(always(tempFail)) // before a worker may deliver
				n.run()
				defer n.close()
				m := n.commit(func(e *mail.Envelope) { e.Arrived = wall.now() })
				n.queue.Accepted(m)
				time.Sleep(time.Hour)
				wall.step(by)
				arrived := wall.now().Add(-time.Hour)
				time.Sleep(10 * time.Hour)
				synctest.Wait()
				if len(n.stored()) != 1 {
					t.Fatal("expired early")
				}
				n.courier.set(always(tempFail))
				time.Sleep(time.Hour + time.Minute)
				synctest.Wait()
				b := n.courier.bounces()
				if len(b) != 1 {
					t.Fatalf("%d notifications", len(b))
				}
				want := "Arrival-Date: " + arrived.UTC().Format("Mon, 2 Jan 2006")
				if !strings.Contains(b[0].body, want) {
					t.Errorf("want %q in:\n%s", want, b[0].body)
				}
			})
		})
	}
}

// A node accepts mail with one clock, ends, and starts with another.
func TestClockIsSetBetweenRuns(t *testing.T) {
	for _, attempted := range []bool{true, false} {
		for _, by := range steps {
			t.Run(fmt.Sprintf("%v/%v", attempted, by), func(t *testing.T) {
				kit.Bubble(t, func(t *testing.T) {
					var wall wallClock
					fs := vfs.NewCrashableMem()
					n := newNode(t, fs, wall.use)
					n.courier.set(always(tempFail)) // before a worker may deliver
					n.run()
					if !attempted {
						n.halt()
					}
					m := n.commit(func(e *mail.Envelope) { e.Arrived = wall.now() })
					n.queue.Accepted(m)
					time.Sleep(2 * time.Hour)
					synctest.Wait()
					n.close()

					wall.step(by)
					n = newNode(t, fs, wall.use)
					n.courier.set(always(tempFail)) // before a worker may deliver
					n.run()
					defer n.close()
					start := time.Now()
					time.Sleep(2*time.Hour + 30*time.Minute)
					synctest.Wait()
					wantAttempts(t, n, m.Envelope.ID, start, 2)
					if len(n.stored()) != 1 {
						t.Fatalf("not waiting any more: %v", n.stored())
					}
					n.courier.set(always(tempFail))
					time.Sleep(10 * time.Hour)
					synctest.Wait()
					n.empty()
					if b := n.courier.bounces(); len(b) != 1 {
						t.Errorf("%d notifications", len(b))
					}
				})
			})
		}
	}
}

// A state that was written while the clock was years ahead holds nothing up.
func TestDueYearsAhead(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		n := newNode(t, fs, nil)
		ahead := time.Now().Add(9 * year)
		m := n.commit(func(e *mail.Envelope) { e.Arrived = ahead })
		if err := n.spool.Update(m.Envelope.ID, 0, spool.State{Attempts: 3, LastAttempt: ahead, Due: ahead.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
		n.close()
		n = newNode(t, fs, nil).run()
		defer n.close()
		time.Sleep(time.Hour + time.Second)
		synctest.Wait()
		if calls := n.courier.of(m.Envelope.ID); len(calls) != 1 || calls[0].attempt != 4 {
			t.Errorf("attempts: %+v", calls)
		}
		n.empty()
	})
}

// An age adds up over restarts: it is written with each attempt.
func TestAgeSurvivesRestarts(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		var wall wallClock
		fs := vfs.NewCrashableMem()
		var id mail.ID
		for run := range 5 {
			n := newNode(t, fs, wall.use)
			n.courier.set(always(tempFail)) // before a worker may deliver
			n.run()
			if run == 0 {
				m := n.commit(func(e *mail.Envelope) { e.Arrived = wall.now() })
				n.queue.Accepted(m)
				id = m.Envelope.ID
			}
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			if st := n.state(id); st.Waited < time.Duration(run+1)*time.Hour || st.Waited > time.Duration(run+1)*2*time.Hour {
				t.Errorf("run %d: waited %v", run, st.Waited)
			}
			n.close()
		}
	})
}

// A courier that is down for a time is asked again after it, though the clock is set meanwhile, and mail
// that grows too old meanwhile expires by the time that passed.
func TestClockIsSetInAPause(t *testing.T) {
	for _, by := range steps {
		t.Run(by.String(), func(t *testing.T) {
			kit.Bubble(t, func(t *testing.T) {
				var wall wallClock
				n := newNode(t, nil, wall.use).run()
				defer n.close()
				o := newOutage(n, 10*time.Minute)
				m := n.commit(func(e *mail.Envelope) { e.Arrived = wall.now() })
				n.queue.Accepted(m)
				time.Sleep(time.Minute)
				wall.step(by)
				time.Sleep(11 * time.Hour)
				synctest.Wait()
				n.want(0, 1, 0)
				if s := n.queue.Stats(); len(s.Paused) != 1 || s.Paused[0].Until.Sub(wall.now()) > 10*time.Minute || wall.now().Sub(s.Oldest).Round(time.Hour) != 11*time.Hour {
					t.Errorf("%+v, now %v", s, wall.now())
				}
				o.end()
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				n.empty()
				if b := n.courier.bounces(); len(b) != 0 {
					t.Error("bounced")
				}
			})
		})
	}
}

func TestScheduleAge(t *testing.T) {
	s := filled(t, Schedule{})
	const hour = time.Hour
	for _, tt := range []struct{ watched, apart, want time.Duration }{
		{0, 0, 0},
		{0, 2 * hour, 2 * hour},
		{3 * hour, 2 * hour, 5 * hour},
		{0, 10 * year, 90 * hour},
		{80 * hour, 20 * hour, 90 * hour},
		{100 * hour, 20 * hour, 100 * hour},
		{100 * hour, -20 * hour, 100 * hour},
		{0, -10 * year, 0},
		{0, 1<<63 - 1, 90 * hour},
		{1<<63 - 1, 1<<63 - 1, 120 * hour},
		{-1 << 63, -1 << 63, 0},
	} {
		if got := s.Age(tt.watched, tt.apart); got != tt.want {
			t.Errorf("Age(%v, %v) = %v, want %v", tt.watched, tt.apart, got, tt.want)
		}
	}
}
