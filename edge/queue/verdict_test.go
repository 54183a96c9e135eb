package queue

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// outline writes a verdict in one line: the state after it, what is told of
// whom, and the state that goes with each notice.
func outline(v *verdict) string {
	var b strings.Builder
	for _, n := range v.notices {
		fmt.Fprintf(&b, "%s", n.kind)
		for _, r := range n.about {
			fmt.Fprintf(&b, " %d:%s", r.Result.Recipient, r.Action)
		}
		fmt.Fprintf(&b, " with %s; ", stateLine(n.state))
	}
	fmt.Fprintf(&b, "after %s", stateLine(v.after))
	if len(v.notices) > 0 {
		fmt.Fprintf(&b, "; else %s", stateLine(v.plain))
	}
	return b.String()
}

func stateLine(st *spool.State) string {
	if st == nil {
		return "nothing"
	}
	s := ""
	for _, r := range st.Recipients {
		s += r.Status.String()[:1]
	}
	if st.DelayNoticed {
		s += "+noticed"
	}
	return s
}

func TestVerdict(t *testing.T) {
	const all = mail.NotifySuccess | mail.NotifyFailure | mail.NotifyDelay
	ok := mail.Result{Reply: mail.Reply{Code: 250, Text: "ok"}}
	relayed := ok
	relayed.Relayed = true
	temp, perm := mail.Result{Failure: tempFail}, mail.Result{Failure: permFail}
	results := func(rs ...mail.Result) []mail.Result {
		for i := range rs {
			rs[i].Recipient = i
		}
		return rs
	}
	tests := []struct {
		name    string
		notify  []mail.Notify
		results []mail.Result
		age     time.Duration
		before  spool.State
		change  func(*facts)
		want    string
	}{
		{"delivered", []mail.Notify{0}, results(ok), 0, spool.State{}, nil, "after nothing"},
		{"deferred", []mail.Notify{0}, results(temp), 0, spool.State{}, nil, "after p"},
		{"no result", []mail.Notify{0}, nil, 0, spool.State{}, nil, "after p"},
		{"part", []mail.Notify{0, 0}, results(ok, temp), 0, spool.State{}, nil, "after dp"},
		{"refused", []mail.Notify{0}, results(perm), 0, spool.State{}, nil,
			"failure 0:failed with nothing; after nothing; else p"},
		{"refused, not to be told", []mail.Notify{mail.NotifyNever}, results(perm), 0, spool.State{}, nil, "after nothing"},
		{"refused, success only", []mail.Notify{mail.NotifySuccess}, results(perm), 0, spool.State{}, nil, "after nothing"},
		{"refused, null sender", []mail.Notify{0}, results(perm), 0, spool.State{}, func(f *facts) { f.env.Sender = mail.Path{} }, "after nothing"},
		{"refused, forged sender", []mail.Notify{0}, results(perm), 0, spool.State{}, func(f *facts) { f.env.NoDSN = true }, "after nothing"},
		{"some of each", []mail.Notify{all, all, all, mail.NotifyNever}, results(ok, temp, perm, perm), 0, spool.State{}, nil,
			"failure 2:failed with dpff; after dpff; else dppf"},
		{"one notice for all failures", []mail.Notify{0, 0}, results(perm, perm), 0, spool.State{}, nil,
			"failure 0:failed 1:failed with nothing; after nothing; else pp"},
		{"expired", []mail.Notify{0, 0}, results(temp, ok), 120 * time.Hour, spool.State{}, nil,
			"failure 0:failed with nothing; after nothing; else pd"},
		{"expired and refused", []mail.Notify{0, 0}, results(temp, perm), 120 * time.Hour, spool.State{}, nil,
			"failure 0:failed 1:failed with nothing; after nothing; else pp"},
		{"late, told", []mail.Notify{all}, results(temp), 4 * time.Hour, spool.State{}, nil,
			"delay 0:delayed with p+noticed; after p+noticed; else p"},
		{"late, told before", []mail.Notify{all}, results(temp), 5 * time.Hour, spool.State{DelayNoticed: true}, nil, "after p+noticed"},
		{"late, not asked for", []mail.Notify{0}, results(temp), 5 * time.Hour, spool.State{}, nil, "after p"},
		{"not late yet", []mail.Notify{all}, results(temp), 3 * time.Hour, spool.State{}, nil, "after p"},
		{"late, told of whom it concerns", []mail.Notify{all, mail.NotifyFailure, all}, results(temp, temp, ok), 4 * time.Hour, spool.State{}, nil,
			"delay 0:delayed with ppd+noticed; after ppd+noticed; else ppd"},
		{"relayed", []mail.Notify{all}, results(relayed), 0, spool.State{}, nil,
			"relayed 0:relayed with nothing; after nothing; else nothing"},
		{"relayed, not asked for", []mail.Notify{0}, results(relayed), 0, spool.State{}, nil, "after nothing"},
		{"delivered, told by the next server", []mail.Notify{all}, results(ok), 0, spool.State{}, nil, "after nothing"},
		{"all three", []mail.Notify{all, all, all}, results(relayed, temp, perm), 4 * time.Hour, spool.State{}, nil,
			"relayed 0:relayed with dpp; delay 1:delayed with dpp+noticed; failure 2:failed with dpf+noticed; after dpf+noticed; else dpp"},
		{"relayed and refused", []mail.Notify{all, all}, results(relayed, perm), 0, spool.State{}, nil,
			"relayed 0:relayed with dp; failure 1:failed with nothing; after nothing; else dp"},
		{"only those pending", []mail.Notify{0, 0, 0}, results(perm, perm, ok), 0,
			spool.State{Attempts: 2, Recipients: []spool.RecipientState{{Status: spool.Delivered}, {Status: spool.Failed}, {}}},
			func(f *facts) { f.pending = []int{2} }, "after nothing"},
		{"the first of two results", []mail.Notify{0}, []mail.Result{ok, perm}, 0, spool.State{}, nil, "after nothing"},
		{"results for nobody", []mail.Notify{0}, []mail.Result{{Recipient: 7}, {Recipient: -1}}, 0, spool.State{}, nil, "after p"},
		{"too old, not tried", []mail.Notify{0}, results(temp), time.Hour, spool.State{}, func(f *facts) { f.started = time.Time{} },
			"failure 0:failed with nothing; after nothing; else p"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := &facts{
				env:     &mail.Envelope{Arrived: epoch, Sender: mail.Path{Local: "a", Domain: "example.com"}},
				results: tt.results, before: tt.before, attempt: 3,
				started: epoch.Add(tt.age - time.Second), now: epoch.Add(tt.age), dice: .5,
			}
			for i, notify := range tt.notify {
				f.env.Recipients = append(f.env.Recipients, recipient(fmt.Sprint(i), notify))
			}
			f.pending = pending(f.env, &spool.Leg{})
			if tt.change != nil {
				tt.change(f)
			}
			before := slices.Clone(f.before.Recipients)
			v := judge(f, filled(t, Schedule{DelayNotice: 4 * time.Hour}))
			if got := outline(v); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			if !slices.Equal(before, f.before.Recipients) {
				t.Error("the state before was changed")
			}
			if len(v.ends) != len(f.pending) {
				t.Errorf("%d ends for %d pending", len(v.ends), len(f.pending))
			}
			checkVerdict(t, f, v)
		})
	}
}

// checkVerdict holds for all verdicts.
func checkVerdict(t *testing.T, f *facts, v *verdict) {
	t.Helper()
	for i, n := range v.notices {
		if last := i == len(v.notices)-1; last && n.state != v.after || !last && n.state == nil {
			t.Error("the last notice, and only that, brings the end")
		}
	}
	for i, n := range v.notices {
		for _, later := range v.notices[i+1:] {
			for _, r := range later.about {
				if later.kind == kindFailure && n.state.Recipients[r.Result.Recipient].Status != spool.Pending {
					t.Errorf("after a crash behind the %s notice nobody would be told of recipient %d", n.kind, r.Result.Recipient)
				}
			}
		}
	}
	for _, e := range v.ends {
		n := e.result.Recipient
		if v.after != nil {
			if st := v.after.Recipients[n].Status; (st == spool.Delivered) != (e.kind == delivered) || (st == spool.Pending) != (e.kind == deferred) {
				t.Errorf("recipient %d: %v, but stored as %v", n, e.kind, st)
			}
		} else if e.kind == deferred {
			t.Errorf("recipient %d is deferred in a message that goes", n)
		}
		if v.plain != nil && v.plain.Recipients[n].Status == spool.Failed && f.wants(n, mail.NotifyFailure) {
			t.Errorf("recipient %d would be forgotten if the notice can't be stored", n)
		}
		if (v.notified(n)) != ((e.kind == failed || e.kind == expired) && f.wants(n, mail.NotifyFailure)) {
			t.Errorf("recipient %d, %v: told is %v", n, e.kind, v.notified(n))
		}
	}
	if v.after != nil && (v.after.Due.IsZero() || v.after.Attempts != f.attempt) {
		t.Errorf("after attempt %d: %d attempts, due %v", f.attempt, v.after.Attempts, v.after.Due)
	}
}

// FuzzVerdict makes facts of bytes, two for each recipient.
func FuzzVerdict(f *testing.F) {
	f.Add([]byte{0, 0}, uint16(0), false)
	f.Add([]byte{1, 1, 2, 2, 3, 3, 4, 4, 0xff, 0xff}, uint16(5), true)
	f.Fuzz(func(t *testing.T, bytes []byte, hours uint16, noSender bool) {
		if len(bytes) < 2 || len(bytes) > 100 {
			return
		}
		facts := &facts{
			env: &mail.Envelope{Arrived: epoch, Sender: mail.Path{Local: "a", Domain: "example.com"}}, attempt: int(hours) + 1,
			started: epoch, now: epoch.Add(time.Duration(hours) * time.Hour),
		}
		if noSender {
			facts.env.Sender = mail.Path{}
		}
		for i := 0; i+1 < len(bytes); i += 2 {
			n := i / 2
			facts.env.Recipients = append(facts.env.Recipients, recipient(fmt.Sprint(n), mail.Notify(bytes[i]&15)))
			facts.before.Recipients = append(facts.before.Recipients, spool.RecipientState{Status: spool.Status(bytes[i] >> 4 % 3)})
			r := mail.Result{Recipient: n - 1 + int(bytes[i+1]>>6)%3, Relayed: bytes[i+1]&4 != 0}
			switch bytes[i+1] & 3 {
			case 1:
				r.Failure = tempFail
			case 2:
				r.Failure = permFail
			}
			facts.results = append(facts.results, r)
		}
		facts.pending = pending(facts.env, &spool.Leg{State: facts.before})
		if len(facts.pending) == 0 {
			return
		}
		v := judge(facts, filled(t, Schedule{DelayNotice: 4 * time.Hour}))
		if len(v.ends) != len(facts.pending) {
			t.Fatalf("%d ends for %d pending", len(v.ends), len(facts.pending))
		}
		checkVerdict(t, facts, v)
	})
}

func TestPending(t *testing.T) {
	env := &mail.Envelope{Recipients: make([]mail.Recipient, 3)}
	st := spool.State{}
	if got := pending(env, &spool.Leg{State: st}); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("of a new message: %v", got)
	}
	st.Recipients = []spool.RecipientState{{Status: spool.Delivered}, {}, {Status: spool.Failed}}
	if got := pending(env, &spool.Leg{State: st}); !slices.Equal(got, []int{1}) {
		t.Errorf("after a try: %v", got)
	}
}
