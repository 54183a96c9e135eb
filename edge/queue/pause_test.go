package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// outage is a courier that is down until somebody clears it.
type outage struct {
	n     *node
	until func() time.Time
	up    bool
}

func (o *outage) answer(_ context.Context, a *Attempt) ([]mail.Result, error) {
	o.n.courier.mu.Lock()
	defer o.n.courier.mu.Unlock()
	if o.up {
		return deliver(a), nil
	}
	return nil, fmt.Errorf("wrapped: %w", &Down{Until: o.until(), Cause: errors.New("no address answers")})
}

func (o *outage) end() {
	o.n.courier.mu.Lock()
	defer o.n.courier.mu.Unlock()
	o.up = true
}

func newOutage(n *node, pause time.Duration) *outage {
	o := &outage{n: n, until: func() time.Time { return time.Now().Add(pause) }}
	n.courier.set(o.answer)
	n.courier.mu.Lock()
	defer n.courier.mu.Unlock()
	n.courier.reach = func(string) error { // with the courier's lock held
		if o.up {
			return nil
		}
		return &Down{Until: o.until(), Cause: errors.New("no address answers")}
	}
	return o
}

// While a destination is down no message is attempted. The courier is asked when it says so; when the
// destination is back, all go at once, and no attempt was counted.
func TestDownAndResume(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		o := newOutage(n, 10*time.Second)
		var ids []mail.ID
		for range 5 {
			ids = append(ids, n.accept())
		}
		synctest.Wait()
		// Both workers may have asked before they knew.
		first := n.courier.count()
		if first > 2 {
			t.Fatalf("%d attempts of a courier that is down", first)
		}
		s := n.queue.Stats()
		if len(s.Paused) != 1 || s.Paused[0].Cause.Error() != "no address answers" || time.Until(s.Paused[0].Until) != 10*time.Second || s.Paused[0].Legs != 5 {
			t.Fatalf("paused: %+v", s.Paused)
		}
		for range 3 { // new mail is not attempted
			ids = append(ids, n.accept())
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		for probe := range 5 {
			if got := n.courier.count(); got != first || n.courier.questions() != probe {
				t.Fatalf("%d attempts, asked %d times after %d pauses", got-first, n.courier.questions(), probe)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		o.end()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		n.empty()
		if s := n.queue.Stats(); s.Paused != nil {
			t.Errorf("still paused: %+v", s.Paused)
		}
		for _, id := range ids {
			calls := n.courier.of(id)
			if last := calls[len(calls)-1]; last.attempt != 1 {
				t.Errorf("%s was delivered by attempt %d", id, last.attempt)
			}
		}
	})
}

// A later attempt that finds the destination down is not counted either, and what was recorded for it is
// taken back.
func TestDownLater(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		n.courier.set(always(tempFail))
		id := n.accept()
		synctest.Wait()
		o := newOutage(n, time.Minute)
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if st := n.state(id); st.Attempts != 1 {
			t.Errorf("%d attempts", st.Attempts)
		}
		o.end()
		time.Sleep(time.Minute)
		synctest.Wait()
		calls := n.courier.of(id)
		if last := calls[len(calls)-1]; len(calls) != 3 || last.attempt != 2 {
			t.Errorf("attempts: %+v", calls)
		}
		n.empty()
	})
}

// A destination that can be reached again is not paused by what it says of a message.
func TestReachedAndRefused(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		o := newOutage(n, time.Minute)
		n.accept()
		n.accept()
		synctest.Wait()
		o.end()
		n.courier.set(always(tempFail))
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := n.queue.Stats(); s.Paused != nil || s.Waiting != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// A destination to which nothing waits any more is not asked; new mail is attempted.
func TestPauseWithoutMail(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		o := newOutage(n, time.Minute)
		id := n.accept()
		synctest.Wait()
		if a, err := n.queue.Delete(id); err != nil || len(a.Done) != 1 {
			t.Fatalf("%+v, %v", a, err)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if n.courier.count() != 1 {
			t.Fatalf("%d attempts", n.courier.count())
		}
		o.end()
		n.accept()
		synctest.Wait()
		n.empty()
	})
}

// A courier that names no time, or a past one, is not asked without a rest.
func TestDownWithoutTime(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, nil).run()
		defer n.close()
		o := newOutage(n, 0)
		o.until = func() time.Time { return time.Time{} }
		n.accept()
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		if got := n.courier.count(); got != 1 || n.courier.questions() != 10 {
			t.Errorf("%d attempts, asked %d times in ten seconds", got, n.courier.questions())
		}
		n.want(0, 1, 0)
	})
}

// What grows too old while the courier is down is ended without a try, and its
// sender is told what was in the way; what is not too old stays.
func TestExpireWhileDown(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, func(o *Options) { o.Schedule.Expire = 2 * time.Hour }).run()
		defer n.close()
		o := newOutage(n, 10*time.Minute)
		old := n.accept(recipient("b", 0), recipient("c", mail.NotifyNever))
		untold := n.commit(func(e *mail.Envelope) { e.Sender = mail.Path{} })
		n.queue.Accepted(untold)
		kept := n.accept()
		if _, err := n.queue.Hold("look at it", kept); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		young := n.accept()
		time.Sleep(time.Hour + time.Minute)
		synctest.Wait()
		n.want(0, 2, 1) // young, the notification, and kept
		var bounce mail.ID
		for _, id := range n.stored() {
			if id == old || id == untold.Envelope.ID {
				t.Errorf("%s is still there", id)
			}
			if id != young && id != kept {
				bounce = id
			}
		}
		m, err := n.spool.Load(bounce)
		if err != nil {
			t.Fatal(err)
		}
		body, err := m.Body()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "Status: 4.4.7\r\n") || strings.Contains(string(text), "c@example.net") || !strings.Contains(string(text), old.String()) {
			t.Errorf("the notification:\n%s", text)
		}
		body.Close()
		o.end()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		n.want(0, 0, 1)
		if len(n.courier.of(bounce)) == 0 {
			t.Error("the notification did not go out")
		}
	})
}

// Retries do not all come back at the same moment.
func TestJitterIsUsed(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		dice := []float64{0, .25, .5, .75, .999}
		next := 0
		n := newNode(t, nil, func(o *Options) {
			o.Schedule.Jitter, o.Concurrency = .2, 1
			o.Rand = func() float64 { next++; return dice[next-1] }
		}).run()
		defer n.close()
		n.courier.set(always(tempFail))
		seen := make(map[time.Duration]bool)
		for range dice {
			id := n.accept()
			synctest.Wait()
			wait := time.Until(n.state(id).Due)
			if seen[wait] || wait < 24*time.Second || wait > 36*time.Second {
				t.Errorf("waits %v", wait)
			}
			seen[wait] = true
		}
	})
}
