package plumb

import (
	"cmp"
	"fmt"
	"slices"
)

// Verb is what a step does.
type Verb string

// The verbs, as `ip` has them.
const (
	Add     Verb = "add"
	Replace Verb = "replace" // in one go, with no moment without
	Delete  Verb = "del"
)

// Step is one change of what the kernel has.
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
	ours      bool // it bears Protocol
	duplicate bool // an IPv6 address that another host has too (RFC 4862 5.4.5)
	tentative bool // an IPv6 address of which it is not known yet
}

// The order of adding; taking away goes the other way round. At no moment is
// there a packet to core that could leave another way, nor a source whose rule
// leads to a table without a route.
const (
	rankUnreachable = iota // nothing but the tunnel may lead to core
	rankGuard              // and no rule of a source may lead past that
	rankAddress            // a route's source address is taken from its device's
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

// plan finds the steps from what the kernel has to what is wanted, in an order
// that is safe at each step. It takes away only what is ours, and adds nothing
// in a place that another's thing holds.
func plan(wants []Want, have []found) []Step {
	held := byPlace(have)
	wanted := make(map[Thing]bool, len(wants))
	var steps []Step
	for _, w := range order(wants) {
		wanted[w.place()] = true
		now, there := held[w.place()]
		switch {
		case !there:
			steps = append(steps, Step{Add, w.Thing})
		case now.duplicate && now.ours: // the kernel asks again for a new one only
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
		if f.ours && !wanted[f.place()] {
			gone = append(gone, Step{Delete, f.Thing})
		}
	}
	slices.SortStableFunc(gone, func(a, b Step) int { return cmp.Compare(b.Thing.rank(), a.Thing.rank()) })
	return append(steps, gone...)
}

// byPlace finds what stands in a place.
func byPlace(have []found) map[Thing]found {
	held := make(map[Thing]found, len(have))
	for _, f := range have {
		if before, twice := held[f.place()]; !twice || f.ours && !before.ours {
			held[f.place()] = f
		}
	}
	return held
}

// replaceable says whether the kernel can turn one thing into another in the
// same place. Of an address it changes lifetimes and flags, of IPv6 only.
func replaceable(now, wanted Thing) bool {
	a, ok := now.(Address)
	if !ok {
		return true
	}
	b := wanted.(Address)
	return a.Prefix == b.Prefix && a.Prefix.Addr().Is6()
}

// standing says whether the kernel has what is wanted, where held is what it has
// by place. What another made there counts, except for a route.
func standing(w Want, held map[Thing]found) bool {
	f, there := held[w.place()]
	return there && !f.duplicate && (f.Thing == w.Thing || !f.ours && w.Kind() != "route")
}
