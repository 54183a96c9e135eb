package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
	"anymx/tests/kit"
)

// byDomain routes each recipient to its domain.
func byDomain(env *mail.Envelope) []mail.Leg {
	var legs []mail.Leg
	for n, r := range env.Recipients {
		i := slices.IndexFunc(legs, func(l mail.Leg) bool { return l.Destination == r.Path.Domain })
		if i < 0 {
			i = len(legs)
			legs = append(legs, mail.Leg{Destination: r.Path.Domain})
		}
		legs[i].Recipients = append(legs[i].Recipients, n)
	}
	return legs
}

// at is a recipient at a domain.
func at(domain string) mail.Recipient {
	return mail.Recipient{Path: mail.Path{Local: "b", Domain: domain}}
}

// lane returns a copy of the lane of a destination, for what can be read of it without the lock.
func (n *node) lane(destination string) lane {
	n.queue.mu.Lock()
	defer n.queue.mu.Unlock()
	l := *n.queue.lanes[destination]
	l.shares = maps.Clone(l.shares)
	return l
}

// perDomain answers by the domain of the attempt's first recipient; others are delivered.
func perDomain(answers map[string]func(context.Context, *Attempt) ([]mail.Result, error)) func(context.Context, *Attempt) ([]mail.Result, error) {
	return func(ctx context.Context, a *Attempt) ([]mail.Result, error) {
		domain := a.Message.Envelope.Recipients[a.Pending[0]].Path.Domain
		if answer := answers[domain]; answer != nil {
			return answer(ctx, a)
		}
		return deliver(a), nil
	}
}

// hang answers when ctx ends.
func hang(ctx context.Context, _ *Attempt) ([]mail.Result, error) {
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// Each leg of a message has its own attempts. The message ends with its last leg, and what has ended is not
// delivered again after a restart.
func TestLegs(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		n := newRouted(t, fs, byDomain, nil).run()
		n.courier.set(perDomain(map[string]func(context.Context, *Attempt) ([]mail.Result, error){
			"slow.example": always(tempFail), "full.example": always(tempFail),
		}))
		id := n.accept(at("good.example"), at("slow.example"), at("good.example"), at("full.example"))
		time.Sleep(time.Second)
		synctest.Wait()
		n.want(0, 2, 0)
		if s := n.queue.Stats(); s.Stored != 1 || s.Lanes != 2 || s.Bytes == 0 {
			t.Errorf("%+v", s)
		}
		items, err := n.queue.Show(id)
		if err != nil || len(items) != 2 || items[0].Destination != "slow.example" || items[1].Destination != "full.example" {
			t.Fatalf("%+v, %v", items, err)
		}
		n.close()

		n = newRouted(t, fs, byDomain, nil).run()
		defer n.close()
		n.want(0, 2, 0)
		n.courier.set(perDomain(map[string]func(context.Context, *Attempt) ([]mail.Result, error){"full.example": always(permFail)}))
		time.Sleep(time.Minute)
		synctest.Wait()
		var got []string
		for _, c := range n.courier.of(id) {
			got = append(got, fmt.Sprint(c.to, c.pending, c.attempt))
		}
		slices.Sort(got)
		if want := []string{"full.example[3] 2", "slow.example[1] 2"}; !slices.Equal(got, want) {
			t.Errorf("attempts after the restart: %v", got)
		}
		if b := n.courier.bounces(); len(b) != 1 || !strings.Contains(b[0].body, "b@full.example") || strings.Contains(b[0].body, "good.example") {
			t.Errorf("notifications: %+v", b)
		}
		n.empty()
	})
}

// A destination that is down, or hangs, keeps no other one waiting.
func TestLanesAreApart(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newRouted(t, nil, byDomain, func(o *Options) {
			o.Concurrency = 4
			o.Lane = func(string) LaneOptions { return LaneOptions{Limit: 2} }
		}).run()
		defer n.close()
		n.courier.set(perDomain(map[string]func(context.Context, *Attempt) ([]mail.Result, error){
			"hangs.example": hang,
			"down.example": func(context.Context, *Attempt) ([]mail.Result, error) {
				return nil, &Down{Until: time.Now().Add(time.Hour), Cause: errors.New("no address answers")}
			},
		}))
		n.courier.reach = func(string) error { return &Down{Cause: errors.New("no address answers")} }
		for range 20 {
			n.accept(at("hangs.example"))
			n.accept(at("down.example"))
		}
		time.Sleep(time.Second)
		start := time.Now()
		for i := range 100 {
			n.accept(at(fmt.Sprintf("good%d.example", i%10)))
		}
		synctest.Wait()
		if took := time.Since(start); took > 0 {
			t.Errorf("others waited %v", took)
		}
		s := n.queue.Stats()
		if s.Active != 20 || s.Waiting != 20 || s.Lanes != 2 || len(s.Paused) != 1 || s.Paused[0].Destination != "down.example" {
			t.Errorf("%+v", s)
		}
		rows, lanes := n.queue.Summary(10, []time.Duration{time.Minute})
		if lanes != 2 || len(rows) != 2 || !strings.Contains(rows[0].Why+rows[1].Why, "no address answers") {
			t.Errorf("%+v", rows)
		}
	})
}

// A domain that is slow to answer has half of a lane's attempts while there is mail of others, and all of
// them when it is alone.
func TestShareByDomain(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newNode(t, nil, func(o *Options) {
			o.Concurrency = 8
			o.Lane = func(string) LaneOptions { return LaneOptions{ShareByDomain: true} }
		}).run()
		defer n.close()
		n.courier.set(perDomain(map[string]func(context.Context, *Attempt) ([]mail.Result, error){
			"slow.example": func(_ context.Context, a *Attempt) ([]mail.Result, error) {
				time.Sleep(5 * time.Second)
				return deliver(a), nil
			},
		}))
		for range 16 {
			n.accept(at("slow.example"))
		}
		synctest.Wait()
		if busy := n.lane("").busy; busy != 8 {
			t.Errorf("%d attempts at a time for a domain that is alone", busy)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		n.empty()

		for range 100 {
			n.accept(at("slow.example"))
			n.accept(at("other.example"))
		}
		time.Sleep(6 * time.Second)
		start := time.Now()
		for range 100 {
			n.accept(at("other.example"))
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if left := len(n.lane("").shares); left != 1 || time.Since(start) != 10*time.Second {
			t.Errorf("%d domains wait", left)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		n.empty()
	})
}

// An attempt that does not end is cancelled when its leg is too old, and the leg ends at most a minute after
// its time, whatever the lane does.
func TestHangingAttemptExpires(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newRouted(t, nil, byDomain, func(o *Options) {
			o.Schedule.Expire, o.Concurrency = time.Hour, 2
			o.Lane = func(string) LaneOptions { return LaneOptions{Limit: 1} }
		}).run()
		defer n.close()
		n.courier.set(perDomain(map[string]func(context.Context, *Attempt) ([]mail.Result, error){"hangs.example": hang}))
		for range 3 { // one is attempted, and the others wait for it
			n.accept(at("hangs.example"))
		}
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		n.want(3, 0, 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		n.empty()
		if b := n.courier.bounces(); len(b) != 3 {
			t.Errorf("%d notifications", len(b))
		}
	})
}

// A list has the legs to one destination alone where that is asked for; a flush of them leaves others as
// they are, and asks a destination that is down at once.
func TestFlushOneDestination(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		n := newRouted(t, nil, byDomain, nil).run()
		defer n.close()
		n.courier.set(always(&mail.Failure{Enhanced: mail.Enhanced{4, 2, 0}, Cause: errors.New("x")}))
		a, b := n.accept(at("a.example")), n.accept(at("b.example"))
		synctest.Wait()
		to := "a.example"
		items, next, err := n.queue.List(t.Context(), Filter{Destination: &to})
		if err != nil || !next.IsZero() || len(items) != 1 || items[0].Envelope.ID != a {
			t.Fatalf("%+v, %v, %v", items, next, err)
		}
		n.queue.Flush(a)
		synctest.Wait()
		if len(n.courier.of(a)) != 2 || len(n.courier.of(b)) != 1 {
			t.Errorf("%d and %d attempts", len(n.courier.of(a)), len(n.courier.of(b)))
		}
		newOutage(n, time.Hour)
		n.queue.FlushAll()
		synctest.Wait()
		asked := n.courier.questions()
		n.queue.Flush(a)
		synctest.Wait()
		if n.courier.questions() != asked+1 {
			t.Errorf("asked %d times by a flush", n.courier.questions()-asked)
		}
	})
}

// A lane may have a schedule of its own, and a reload may change it.
func TestLaneSchedule(t *testing.T) {
	kit.Bubble(t, func(t *testing.T) {
		quick := Schedule{Retry: []time.Duration{time.Minute}, Expire: 10 * time.Minute}
		n := newRouted(t, nil, byDomain, func(o *Options) {
			o.Lane = func(to string) (l LaneOptions) {
				if strings.HasPrefix(to, "quick") {
					l.Schedule = &quick
				}
				return l
			}
		}).run()
		defer n.close()
		n.courier.set(always(tempFail))
		var ids []mail.ID
		for i := range 8 { // with the slow ones among them
			ids = append(ids, n.accept(at(fmt.Sprintf("quick%d.example", i))), n.accept(at("slow.example")))
		}
		time.Sleep(5*time.Minute + time.Second)
		synctest.Wait()
		if quick, slow := len(n.courier.of(ids[0])), len(n.courier.of(ids[1])); quick != 6 || slow >= quick {
			t.Errorf("%d and %d attempts", quick, slow)
		}
		quick.Expire = 6 * time.Minute
		n.queue.Reload()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if left := n.queue.Stats(); left.Legs() != 8 || len(n.courier.bounces()) != 8 {
			t.Errorf("%+v, %d notifications", left, len(n.courier.bounces()))
		}
	})
}
