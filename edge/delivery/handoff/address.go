package handoff

import (
	"slices"
	"time"

	"anymx/edge/delivery/smtpc"
	"anymx/edge/mail"
)

// address is one address of core. Handoff.mu is held for all of it.
type address struct {
	name   string
	label  string // its place in the list, for metrics
	health health
	limit  throttle

	served    served  // the domains that it served last
	busy      int     // messages under way, or connections being opened for them
	dialling  int     // of busy: connections being opened
	open      int     // sessions that stand, busy or idle
	doubt     bool    // one could not be opened, while others were being opened
	idle      []*kept // the one used last at the end
	delivered int64   // messages of which a recipient was delivered
	cause     error   // of the last failure to reach it; nil since it works
	probe     ProbeResult

	extensions mail.Extensions // as its last EHLO said, if learned
	learned    bool            // an EHLO was answered, now or before the last start
	asked      time.Time       // when that was; zero: before the start
}

// takes reports whether the address takes what needs asks for, or has not said yet.
func (a *address) takes(needs mail.Extensions) bool { return !a.learned || a.extensions.Has(needs) }

// kept is a session, idle or under way.
type kept struct {
	conn     *smtpc.Conn
	settings *settings // that it was opened with
	messages int       // carried
	since    time.Time // idle since
}

// take pops the idle session used last, or nil. Sessions opened with other
// settings are put into stale, and those that lack what needs asks for and the
// address has said to take since.
func (a *address) take(s *settings, needs mail.Extensions, stale *[]*kept) *kept {
	for n := len(a.idle); n > 0; n = len(a.idle) {
		k := a.idle[n-1]
		a.idle[n-1] = nil
		a.idle = a.idle[:n-1]
		if k.settings == s && (k.conn.Extensions().Has(needs) || !a.takes(needs)) {
			return k
		}
		a.open--
		*stale = append(*stale, k)
	}
	return nil
}

// drop takes all idle sessions out.
func (a *address) drop() []*kept {
	all := a.idle
	a.idle = nil
	a.open -= len(all)
	return all
}

// prune takes the idle sessions out that core has closed.
func (a *address) prune() (dead []*kept) {
	a.idle = slices.DeleteFunc(a.idle, func(k *kept) bool {
		if k.conn.Quiet() {
			return false
		}
		dead = append(dead, k)
		return true
	})
	a.open -= len(dead)
	return dead
}

// expired takes the idle sessions that are older than since out.
func (a *address) expired(since time.Time) (old []*kept) {
	n := 0
	for n < len(a.idle) && !a.idle[n].since.After(since) {
		n++
	}
	old = slices.Clone(a.idle[:n])
	a.idle = slices.Delete(a.idle, 0, n)
	a.open -= n
	return old
}
