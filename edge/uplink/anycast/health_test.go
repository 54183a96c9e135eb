package anycast

import (
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)

// step is one or more rounds, a second apart.
type step struct {
	rounds  string // a letter each: g, o, b (busy), x (bad)
	process int
	up      bool
	reason  string // part of the health's reason
}

func TestHealth(t *testing.T) {
	usual := thresholds{rise: 3, riseTime: 5 * time.Second, fall: 2, busy: 5 * time.Minute}
	strict := usual
	strict.strict = true
	for name, test := range map[string]struct {
		rules thresholds
		steps []step
	}{
		"time counts": {usual, []step{
			{rounds: "ggggg", reason: "good for 4s of 5s, 3 of 3 rounds"}, {rounds: "g", up: true},
		}},
		"rounds count": {thresholds{rise: 3, fall: 2, busy: 5 * time.Minute}, []step{{rounds: "gg", reason: "2 of 3"}, {rounds: "g", up: true}}},
		"a bad round begins again": {usual, []step{
			{rounds: "gggggx", reason: "smtp"}, {rounds: "ggggg"}, {rounds: "g", up: true},
		}},
		"one bad round is none":              {usual, []step{{rounds: "gggggg", up: true}, {rounds: "x", up: true, reason: "smtp"}, {rounds: "gx", up: true}}},
		"two bad rounds":                     {usual, []step{{rounds: "gggggg", up: true}, {rounds: "xx", reason: "smtp"}}},
		"open says nothing":                  {usual, []step{{rounds: "gggggg", up: true}, {rounds: "xoooox", reason: "smtp"}}},
		"open does not keep it down":         {usual, []step{{rounds: "gogogogogog", up: true}}},
		"busy is not good":                   {usual, []step{{rounds: "bbbbbbbbbbbb", reason: "421"}}},
		"busy is not bad":                    {usual, []step{{rounds: "gggggg" + strings.Repeat("b", 299), up: true, reason: "421"}}},
		"busy for too long is bad":           {usual, []step{{rounds: "gggggg" + strings.Repeat("b", 302), reason: "busy for 5m"}}},
		"one good round is enough":           {usual, []step{{rounds: "gggggg" + strings.Repeat("b", 250) + "g" + strings.Repeat("b", 250), up: true}}},
		"another process":                    {usual, []step{{rounds: "gggggg", process: 7, up: true}, {rounds: "g", process: 8, up: true}}},
		"another process while strict":       {strict, []step{{rounds: "gggggg", process: 7, up: true}, {rounds: "g", process: 8, reason: "restarted"}, {rounds: "gggggg", process: 8, up: true}}},
		"one bad round while strict":         {strict, []step{{rounds: "gggggg", up: true}, {rounds: "x", reason: "smtp"}}},
		"an unknown process changes nothing": {strict, []step{{rounds: "gggggg", process: 7, up: true}, {rounds: "g", up: true}, {rounds: "g", process: 7, up: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			var h health
			now := epoch
			for i, s := range test.steps {
				for _, round := range s.rounds {
					v := verdict{began: now, process: s.process}
					switch round {
					case 'o':
						v.outcome = open
					case 'b':
						v.outcome, v.reason = busy, "smtp: 421"
					case 'x':
						v.outcome, v.reason = bad, "smtp: refused"
					}
					h = h.after(test.rules, v, now)
					now = now.Add(time.Second)
				}
				if h.up != s.up || !strings.Contains(h.reason, s.reason) || h.up && s.reason == "" && strings.Contains(h.reason, "not confirmed") {
					t.Fatalf("after step %d: %+v, want up %v and %q", i, h, s.up, s.reason)
				}
			}
		})
	}
}

func TestHealthOfTheBeginning(t *testing.T) {
	var h health
	if h = h.after(thresholds{rise: 1, fall: 1}, verdict{outcome: open}, epoch); !h.since.IsZero() || h.down() {
		t.Errorf("an open round has said something: %+v", h)
	}
	if h = h.after(thresholds{rise: 2, fall: 1}, verdict{outcome: good}, epoch); h.down() || h.up {
		t.Errorf("a node that is not confirmed yet is not down: %+v", h)
	}
	if h = h.after(thresholds{rise: 2, fall: 1}, verdict{outcome: bad}, epoch); !h.down() || h.doubtful() {
		t.Errorf("%+v", h)
	}
}

func TestRounds(t *testing.T) {
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	r := newRounds(2)
	if got := r.startRound(at(0)); len(got) != 2 {
		t.Fatalf("began %v", got)
	}
	if v, known := r.endCheck(0, checked{name: "a", process: 9}); known {
		t.Fatalf("a round is over before its checks: %+v", v)
	}
	// The second check hangs: the next round can't be good.
	if got := r.startRound(at(1)); len(got) != 1 || got[0] != 0 {
		t.Fatalf("began %v", got)
	}
	if v, known := r.endCheck(0, checked{name: "a", process: 9}); !known || v.outcome != open || v.began != at(1) || v.process != 9 {
		t.Errorf("%+v %v", v, known)
	}
	// The round may be bad, and says so at once; the result of the hanging check belongs to another
	// round.
	r.startRound(at(2))
	if v, known := r.endCheck(0, checked{name: "a", outcome: bad, reason: "refused"}); !known || v.outcome != bad || v.reason != "a: refused" {
		t.Errorf("%+v %v", v, known)
	}
	if v, known := r.endCheck(1, checked{name: "b", outcome: busy, reason: "421"}); !known || v.outcome != busy || v.began != at(0) || v.process != 9 || v.reason != "b: 421" {
		t.Errorf("%+v %v", v, known)
	}
	// The first bad one reports it, once.
	r.startRound(at(3))
	if v, known := r.endCheck(1, checked{name: "b", outcome: bad, reason: "reset"}); !known || v.reason != "b: reset" {
		t.Errorf("%+v %v", v, known)
	}
	if v, known := r.endCheck(0, checked{name: "a", outcome: bad, reason: "refused"}); known {
		t.Errorf("the round was judged twice: %+v", v)
	}
	r.startRound(at(4))
	r.endCheck(0, checked{name: "a"})
	if v, known := r.endCheck(1, checked{name: "b"}); !known || v.outcome != good || v.reason != "" {
		t.Errorf("%+v %v", v, known)
	}
}
