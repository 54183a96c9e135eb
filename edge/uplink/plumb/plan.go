package plumb

import (
	"cmp"
	"fmt"
	"slices"
)

// Verb is what a step does.
type Verb string

// The verbs, as in `ip`.
const (
	Add     Verb = "add"
	Replace Verb = "replace" // atomically
	Delete  Verb = "del"
)

// Step is one change to what the kernel has.
type Step struct {
	Verb  Verb
	Thing Thing
}

// String is the step as a command.
func (s Step) String() string {
	text := fmt.Sprintf("ip %s %s %s %s", s.Thing.family(), s.Thing.Kind(), s.Verb, s.Thing)
	if s.Verb == Delete && s.Thing.Kind() == "address" {
		a := s.Thing.(Address)
		return fmt.Sprintf("ip %s address del %s dev %s", a.family(), a.Prefix, a.Dev)
	}
	return fmt.Sprintf("%s proto %d", text, Protocol)
}

// found is a thing that the kernel has.
type found struct {
	Thing
	ours      bool // it carries Protocol
	duplicate bool // an IPv6 address that another host uses too (RFC 4862 5.4.5)
	tentative bool // an IPv6 address whose duplicate address detection still runs
}

// The order of adding; removing goes in reverse. At no moment can a packet to core leave by another
// way, nor does a source's rule lead to a table without a route.
const (
	rankUnreachable = iota // nothing but the tunnel may lead to core
	rankGuard              // and no source's rule may bypass that
	rankAddress            // a route takes its source address from its device
	rankRoute
	rankTable
	rankRule
)

func (a Address) rank() int { return rankAddress }

func (r Route) rank() int {
	switch {
	case r.Unreachable:
		return rankUnreachable
	case r.Table == mainTable:
		return rankRoute
	}
	return rankTable
}

func (r Rule) rank() int {
	if r.To.IsValid() {
		return rankGuard
	}
	return rankRule
}

// plan finds the steps from what the kernel has to what is wanted, in an order that is safe at each
// step. It removes only what is ours, and adds nothing under a key that a foreign thing has.
func plan(wants []Want, have []found) []Step {
	held := byKey(have)
	wanted := make(map[Thing]bool, len(wants))
	var steps []Step
	for _, w := range sortWants(wants) {
		wanted[w.key()] = true
		now, there := held[w.key()]
		switch {
		case !there:
			steps = append(steps, Step{Add, w.Thing})
		case now.duplicate && now.ours: // the kernel repeats the detection only for a new address
			steps = append(steps, Step{Delete, now.Thing}, Step{Add, w.Thing})
		case now.Thing == w.Thing || !now.ours:
		case replaceable(now.Thing, w.Thing):
			steps = append(steps, Step{Replace, w.Thing})
		default:
			steps = append(steps, Step{Delete, now.Thing}, Step{Add, w.Thing})
		}
	}
	var gone []Step
	for _, f := range have {
		if f.ours && !wanted[f.key()] {
			gone = append(gone, Step{Delete, f.Thing})
		}
	}
	slices.SortStableFunc(gone, func(a, b Step) int { return cmp.Compare(b.Thing.rank(), a.Thing.rank()) })
	return append(steps, gone...)
}

// byKey finds the thing that the kernel has under each key, ours first.
func byKey(have []found) map[Thing]found {
	held := make(map[Thing]found, len(have))
	for _, f := range have {
		if before, twice := held[f.key()]; !twice || f.ours && !before.ours {
			held[f.key()] = f
		}
	}
	return held
}

// replaceable reports whether the kernel can turn one thing into another with the same key. For
// addresses it changes lifetimes and flags, and of IPv6 only.
func replaceable(now, wanted Thing) bool {
	a, ok := now.(Address)
	if !ok {
		return true
	}
	b := wanted.(Address)
	return a.Prefix == b.Prefix && a.Prefix.Addr().Is6()
}

// present reports whether the kernel has what is wanted, where held is what it has by key. A
// foreign thing counts, except for a route.
func present(w Want, held map[Thing]found) bool {
	f, there := held[w.key()]
	return there && !f.duplicate && (f.Thing == w.Thing || !f.ours && w.Kind() != "route")
}
