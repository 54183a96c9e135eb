package machine

import (
	"strings"
	"time"

	"anymx/edge/appliance/slot"
	"anymx/edge/operate/api"
)

// The decisions in this file are pure.

// mayRetreat reports whether a machine goes back to the other slot if the running version is not
// confirmed. While it may, the running version's boot counter counts down; otherwise it is reset at
// each start, because what would boot next is nothing, or worse.
func mayRetreat(t *slot.Table, last *record, confirmed confirmedList) bool {
	switch other := t.Other(); {
	case confirmed.has(t.Version, t.RootHash):
		return false
	case last.of(t.Version) && !last.Edge:
		// No mail was carried when it was written: it can't be required to do more
		return false
	case !other.Whole():
		return false
	case other.Entry.Left != 0:
		return true
	default:
		// It has no boot attempt left because it failed, unless the running version, being older,
		// was preferred to it
		return last.of(t.Version) && last.From == other.Version
	}
}

// mayRollBack returns why the machine can't boot the other slot; "" if it can.
func mayRollBack(t *slot.Table, confirmed confirmedList, hashOf func(*slot.Slot) string) string {
	other := t.Other()
	switch {
	case other == nil:
		return "this disk has only one slot"
	case other.Version == "":
		return "the other slot is " + other.State() + ": there is no version to roll back to"
	case other.Entry == nil:
		return "version " + other.Version + " in the other slot has no boot entry"
	case !confirmed.has(other.Version, hashOf(other)):
		return "version " + other.Version + " in the other slot was never confirmed on this machine, so a rollback to it is refused.  " +
			"To boot it anyway, update to it: anymx update FILE --allow-older"
	}
	return ""
}

// rootHashOf returns the root hash of a slot's content, from the UUIDs of its partitions.
func rootHashOf(s *slot.Slot) string {
	return strings.ReplaceAll(string(s.Root.ID)+string(s.Verity.ID), "-", "")
}

// outcome returns the updated record of the last update; nil if it is up to date.
func outcome(t *slot.Table, last *record, confirmed confirmedList, now time.Time) *record {
	if last == nil || last.Outcome == outcomeConfirmed || last.Outcome == outcomeBack {
		return nil
	}
	next := *last
	switch {
	case t.Version == last.Version && confirmed.has(t.Version, t.RootHash):
		next.Outcome, next.Ended = outcomeConfirmed, now
	case t.Version == last.Version && last.Outcome != outcomeBooted:
		next.Outcome = outcomeBooted
	case t.Version == last.Version:
		return nil
	case last.Outcome == outcomeBooted, exhausted(t, last.Version):
		next.Outcome, next.Ended = outcomeBack, now
	default:
		return nil
	}
	return &next
}

// exhausted reports whether a version has no boot attempts left.
func exhausted(t *slot.Table, version string) bool {
	other := t.Other()
	return other.Whole() && other.Version == version && other.Entry.Left == 0
}

// peersLack returns which BGP sessions are missing until a version is confirmed; "" if none. Those
// that existed when it was written count; without a record of them, one is enough.
func peersLack(last *record, version string, s *api.SpeakerStatus) string {
	states := map[string]*api.SpeakerPeer{}
	established := 0
	for i := range s.Peers {
		p := &s.Peers[i]
		states[p.Address.String()] = p
		if p.State == "Established" {
			established++
		}
	}
	if !last.of(version) {
		if len(s.Peers) > 0 && established == 0 {
			return "BGP: no session is established yet"
		}
		return ""
	}
	var lack []string
	for _, a := range last.Peers {
		p := states[a.String()]
		if p == nil || p.State == "Established" { // nil: the config no longer has it
			continue
		}
		text := a.String() + " is " + p.State
		if p.LastError != "" {
			text += " (" + p.LastError + ")"
		}
		lack = append(lack, text)
	}
	if len(lack) == 0 {
		return ""
	}
	return "BGP: sessions established before the update are missing: " + strings.Join(lack, ", ")
}
