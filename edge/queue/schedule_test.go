package queue

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func filled(t testing.TB, s Schedule) Schedule {
	t.Helper()
	if err := s.fill(); err != nil {
		t.Fatal(err)
	}
	return s
}

var epoch = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func TestScheduleNext(t *testing.T) {
	tests := []struct {
		name     string
		s        Schedule
		attempts int
		age      time.Duration // when the attempt failed
		dice     float64
		want     time.Duration // of age; 0: none
	}{
		{"first", Schedule{}, 1, 0, .5, 30 * time.Second},
		{"first, count unknown", Schedule{}, 0, 0, .5, 30 * time.Second},
		{"second", Schedule{}, 2, 30 * time.Second, .5, 90 * time.Second},
		{"eighth", Schedule{}, 8, time.Hour, .5, 2 * time.Hour},
		{"hundredth", Schedule{}, 100, 90 * time.Hour, .5, 91 * time.Hour},
		{"earliest", Schedule{Jitter: .2}, 2, 0, 0, 48 * time.Second},
		{"latest", Schedule{Jitter: .2}, 2, 0, 1, 72 * time.Second},
		{"own", Schedule{Retry: []time.Duration{time.Minute, 3 * time.Minute}}, 7, 0, .5, 3 * time.Minute},
		{"the last is at the end", Schedule{}, 120, 119*time.Hour + 30*time.Minute, .5, 120 * time.Hour},
		{"just before the end", Schedule{}, 120, 120*time.Hour - 1, .5, 120 * time.Hour},
		{"at the end", Schedule{}, 120, 120 * time.Hour, .5, 0},
		{"behind the end", Schedule{}, 1, 500 * time.Hour, .5, 0},
		{"own end", Schedule{Expire: time.Minute}, 1, 50 * time.Second, .5, time.Minute},
		{"clock before the arrival", Schedule{}, 1, -time.Hour, .5, -time.Hour + 30*time.Second},
	}
	for _, tt := range tests {
		next, ok := filled(t, tt.s).Next(tt.attempts, epoch, epoch.Add(tt.age), tt.dice)
		if ok != (tt.want != 0) || ok && next.Sub(epoch) != tt.want {
			t.Errorf("%s: %v, %v; want %v", tt.name, next.Sub(epoch), ok, tt.want)
		}
	}
}

// Without jitter the default schedule is the line of the package comment.
func TestScheduleTimeline(t *testing.T) {
	s := filled(t, Schedule{})
	var got []time.Duration
	now, ok := epoch, true
	for attempt := 1; ok; attempt++ {
		got = append(got, now.Sub(epoch))
		now, ok = s.Next(attempt, epoch, now, .5)
	}
	if !slices.Equal(got, timeline(120*time.Hour)) {
		t.Errorf("tries at %v", got)
	}
}

// Whatever the schedule and the dice say: a try is later than the one before,
// never beyond the end, and as far off as jitter allows.
func TestScheduleProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		s := Schedule{Jitter: rnd.Float64() / 2, Expire: time.Duration(1 + rnd.Int64N(int64(10*24*time.Hour)))}
		for range rnd.IntN(5) {
			s.Retry = append(s.Retry, time.Duration(1+rnd.Int64N(int64(2*time.Hour))))
		}
		s = filled(t, s)
		now := epoch
		for attempt := 1; ; attempt++ {
			if attempt > 1000 {
				break // short waits, long life
			}
			next, ok := s.Next(attempt, epoch, now, rnd.Float64())
			if !ok {
				if now.Before(s.Expires(epoch)) {
					t.Fatalf("%+v gives up at %v", s, now.Sub(epoch))
				}
				break
			}
			wait := s.Retry[min(attempt, len(s.Retry))-1]
			got, slack := next.Sub(now), time.Duration(float64(wait)*s.Jitter)+1
			switch {
			case next.After(s.Expires(epoch)):
				t.Fatalf("%+v: an attempt after the end, at %v", s, next.Sub(epoch))
			case got <= 0 && wait > 1:
				t.Fatalf("%+v: attempt %d does not come after the one before", s, attempt+1)
			case got > wait+slack, got < wait-slack && !next.Equal(s.Expires(epoch)):
				t.Fatalf("%+v: attempt %d waits %v, not about %v", s, attempt+1, got, wait)
			}
			now = next
		}
	}
}

func TestScheduleRefuses(t *testing.T) {
	for _, s := range []Schedule{
		{Retry: []time.Duration{time.Second, 0}}, {Retry: []time.Duration{-1}}, {Jitter: -.1}, {Jitter: .6}, {Expire: -1}, {DelayNotice: -1},
	} {
		if err := s.fill(); err == nil {
			t.Errorf("%+v is taken", s)
		}
	}
}

func TestScheduleLate(t *testing.T) {
	s := filled(t, Schedule{DelayNotice: 4 * time.Hour})
	if s.Late(epoch, epoch.Add(4*time.Hour-1)) || !s.Late(epoch, epoch.Add(4*time.Hour)) {
		t.Error("late is from four hours on")
	}
	if filled(t, Schedule{}).Late(epoch, epoch.Add(1000*time.Hour)) {
		t.Error("0 is never")
	}
}

// The line in the package comment, which the docs repeat, is what the code does.
func TestTimelineInComment(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	line := "0s"
	for _, wait := range DefaultRetry[:len(DefaultRetry)-1] {
		line += ", " + short(wait)
	}
	line += ", then every " + short(DefaultRetry[len(DefaultRetry)-1]) + " until 5 days, each +-20%"
	if !strings.Contains(string(text), line) || defaultExpire != 5*24*time.Hour {
		t.Errorf("the comment does not say %q", line)
	}
}

func short(d time.Duration) string {
	return strings.Replace(strings.Replace(d.String(), "m0s", "m", 1), "h0m", "h", 1)
}
