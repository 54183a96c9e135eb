package queue

import (
	"errors"
	"slices"
	"time"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// This file is pure: it turns what is known of a leg and the results of an attempt into what has to be
// written, and who has to be notified.

// facts are what a verdict is made from.
type facts struct {
	env *mail.Envelope
	// arrived is when the message came, counted back from now by its age; zero: as its envelope says.
	arrived time.Time
	before  spool.State // as it was when the attempt began
	attempt int
	pending []int // the recipients of the attempt
	results []mail.Result
	started time.Time // of the attempt; zero: none was made, the leg grew too old
	now     time.Time
	dice    float64
}

// verdict is what an attempt means for its leg.
type verdict struct {
	attempt int
	ends    []end        // one for each recipient that was pending
	after   *spool.State // what is known after the attempt; nil: nobody is left, the leg ends
	// notices are to be stored in their order, each with the state of the original's leg that it brings;
	// the last one brings after.
	notices []notice
	// plain is used instead of after where a notice can't be stored: what was delivered is recorded, and
	// the recipients whose failure could not be notified stay pending, so that nothing is forgotten. nil:
	// the leg ends.
	plain *spool.State
}

// end is what became of one recipient.
type end struct {
	result mail.Result
	kind   kind
}

// kind is how an attempt ends for a recipient.
type kind uint8

const (
	delivered kind = iota
	deferred
	failed
	expired
)

func (k kind) String() string { return [...]string{"delivered", "deferred", "failed", "expired"}[k] }

// notice is a notification to the sender.
type notice struct {
	kind    string
	about   []mail.DSNRecipient
	state   *spool.State // of the original's leg; nil: it ends
	arrived time.Time    // of the original, by the clock that dates the notice
}

// errNoResult is the cause of a failure that a courier did not name.
var errNoResult = errors.New("no result for this recipient")

// outcome is what judge gathers from the recipients' ends.
type outcome struct {
	after              spool.State // once all notices are stored
	middle             spool.State // with only those marked that are delivered, or were notified
	relay, delay, fail []mail.DSNRecipient
	left               int // recipients that stay in the queue
}

// add records the end of one recipient.
func (o *outcome) add(f *facts, s Schedule, e *end) {
	n := e.result.Recipient
	about := f.about(e.result)
	st := spool.RecipientState{At: f.now}
	switch e.kind {
	case delivered:
		st.Status, st.Last = spool.Delivered, e.result.Reply.String()
		o.middle.Recipients[n] = st
		if e.result.Relayed && f.wants(n, mail.NotifySuccess) {
			about.Action = mail.ActionRelayed
			o.relay = append(o.relay, about)
		}
	case deferred:
		o.left++
		st.Status, st.Last = spool.Pending, e.result.Failure.Error()
		o.middle.Recipients[n] = st
		if !f.before.DelayNoticed && s.Late(f.arrival(), f.now) && f.wants(n, mail.NotifyDelay) {
			about.Action, about.RetryUntil = mail.ActionDelayed, s.Expires(f.arrival())
			o.delay = append(o.delay, about)
			o.after.DelayNoticed = true
		}
	default:
		st.Status, st.Last = spool.Failed, e.result.Failure.Error()
		o.middle.Recipients[n] = spool.RecipientState{Last: st.Last, At: st.At}
		if f.wants(n, mail.NotifyFailure) {
			about.Action = mail.ActionFailed
			if e.kind == expired {
				about.Action = mail.ActionExpired
			}
			o.fail = append(o.fail, about)
		} else {
			o.middle.Recipients[n] = st
		}
	}
	o.after.Recipients[n] = st
}

// judge returns the verdict on an attempt.
func judge(f *facts, s Schedule) *verdict {
	v := &verdict{attempt: f.attempt}
	next, again := s.Next(f.attempt, f.arrival(), f.now, f.dice)
	if f.started.IsZero() {
		again = false
	}
	v.ends = ends(f, again)

	o := outcome{after: f.before}
	o.after.Attempts, o.after.Due = f.attempt, time.Time{}
	o.after.Recipients = recipients(f)
	o.middle = o.after
	o.middle.Recipients = slices.Clone(o.after.Recipients)
	for i := range v.ends {
		o.add(f, s, &v.ends[i])
	}
	if o.left > 0 {
		o.after.Due = next
		v.after = &o.after
	}
	if o.left > 0 || len(o.fail) > 0 {
		v.plain = &o.middle
	}
	v.notify(kindRelayed, o.relay, &o.middle, f.before.DelayNoticed)
	v.notify(kindDelay, o.delay, &o.middle, o.after.DelayNoticed)
	v.notify(kindFailure, o.fail, &o.middle, o.after.DelayNoticed) // the last, for it may end the message
	for i := range v.notices {
		v.notices[i].arrived = f.arrival()
	}
	if n := len(v.notices); n > 0 {
		v.notices[n-1].state = v.after
	}
	return v
}

// notify adds a notice, if it has recipients to name. Its state marks those as delivered that are, and
// leaves the others pending.
func (v *verdict) notify(kind string, about []mail.DSNRecipient, middle *spool.State, delayNoticed bool) {
	if len(about) == 0 {
		return
	}
	st := *middle
	st.DelayNoticed = delayNoticed
	v.notices = append(v.notices, notice{kind: kind, about: about, state: &st})
}

// ends gives each pending recipient the result that the courier gave for it, the first if there are
// several.
func ends(f *facts, again bool) []end {
	all := make([]end, len(f.pending))
	at := make(map[int]int, len(f.pending))
	for i, n := range f.pending {
		at[n] = i
		all[i] = end{result: mail.Result{Recipient: n, Failure: &mail.Failure{Enhanced: mail.Enhanced{4, 3, 0}, Cause: errNoResult}}}
	}
	for _, r := range f.results {
		if i, ok := at[r.Recipient]; ok {
			all[i].result = r
			delete(at, r.Recipient)
		}
	}
	for i := range all {
		switch failure := all[i].result.Failure; {
		case failure == nil:
			all[i].kind = delivered
		case failure.Permanent:
			all[i].kind = failed
		case again:
			all[i].kind = deferred
		default:
			all[i].kind = expired
		}
	}
	return all
}

// recipients is a copy of the recipients' states, with one for each.
func recipients(f *facts) []spool.RecipientState {
	all := make([]spool.RecipientState, len(f.env.Recipients))
	copy(all, f.before.Recipients)
	return all
}

// pending lists the recipients of a leg that are still to be attempted.
func pending(env *mail.Envelope, leg *spool.Leg) []int {
	st := leg.State.Recipients
	var all []int
	add := func(n int) {
		if n >= len(st) || st[n].Status == spool.Pending {
			all = append(all, n)
		}
	}
	if leg.Recipients == nil {
		for n := range env.Recipients {
			add(n)
		}
	}
	for _, n := range leg.Recipients {
		add(n)
	}
	return all
}

// about is what a notice says of a recipient, but for the action.
func (f *facts) about(r mail.Result) mail.DSNRecipient {
	r.Failure = source(r.Failure)
	about := mail.DSNRecipient{Result: r, Reason: reason(r.Failure), LastAttempt: f.lastAttempt()}
	if f.started.IsZero() && r.Recipient < len(f.before.Recipients) {
		about.Earlier = earlier(&f.before.Recipients[r.Recipient])
	}
	return about
}

// arrival is when the message came, by the wall clock as it is set now.
func (f *facts) arrival() time.Time {
	if f.arrived.IsZero() {
		return f.env.Arrived
	}
	return f.arrived
}

// lastAttempt is when the last attempt began.
func (f *facts) lastAttempt() time.Time {
	switch {
	case !f.started.IsZero():
		return f.started
	case !f.before.LastAttempt.IsZero():
		return f.before.LastAttempt
	}
	return f.env.Arrived // the first attempt counts as begun then
}

// wants reports whether the sender is notified of what happened to recipient n.
func (f *facts) wants(n int, what mail.Notify) bool {
	return f.env.NoDSNReason(n, what) == mail.DSNAllowed
}
