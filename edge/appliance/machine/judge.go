package machine

import (
	"strings"
	"time"

	"anymx/edge/appliance/slot"
	"anymx/edge/operate/api"
)

// This file decides, and is pure.

// mayRetreat says whether a machine goes back to the other slot if the running
// version does not prove itself. While it may, the running version's tries count
// down; when it may not, they are given back at each start, for what would come
// after them is nothing, or worse.
func mayRetreat(t *slot.Table, last *record, proven provenList) bool {
	switch other := t.Other(); {
	case proven.has(t.Version, t.RootHash):
		return false
	case last.of(t.Version) && !last.Edge:
		// No mail was carried when it was written: it can't be asked for more
		return false
	case !other.Whole():
		return false
	case other.Entry.Left != 0:
		return true
	default:
		// It has no try left because it failed, unless the running version, being
		// older, was put before it
		return last.of(t.Version) && last.From == other.Version
	}
}

// mayRollBack says why the machine can't be sent to the other slot; "" if it can.
func mayRollBack(t *slot.Table, proven provenList, hashOf func(*slot.Slot) string) string {
	other := t.Other()
	switch {
	case other == nil:
		return "this disk has one slot only"
	case other.Version == "":
		return "the other slot is " + other.State() + ": there is no version to go back to"
	case other.Entry == nil:
		return "version " + other.Version + " in the other slot has no boot entry"
	case !proven.has(other.Version, hashOf(other)):
		return "version " + other.Version + " in the other slot was never proven on this machine, so it is nothing to go back to. " +
			"To try it once more, update to it: anymx update FILE --allow-older"
	}
	return ""
}

// rootHashOf is the root hash of what is in a slot, as the UUIDs of its partitions
// tell.
func rootHashOf(s *slot.Slot) string {
	return strings.ReplaceAll(string(s.Root.ID)+string(s.Verity.ID), "-", "")
}

// outcome is the record of the last update as it is to be now; nil if it is right as
// it is.
func outcome(t *slot.Table, last *record, proven provenList, now time.Time) *record {
	if last == nil || last.Outcome == outcomeProven || last.Outcome == outcomeBack {
		return nil
	}
	next := *last
	switch {
	case t.Version == last.Version && proven.has(t.Version, t.RootHash):
		next.Outcome, next.Ended = outcomeProven, now
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

// exhausted says that the loader has used up the tries of a version.
func exhausted(t *slot.Table, version string) bool {
	other := t.Other()
	return other.Whole() && other.Version == version && other.Entry.Left == 0
}

// peersLack says which BGP sessions are missing until a version is proven; "" if
// none is. Those that there were when it was written count; without a record of it,
// one is enough.
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
			return "BGP: no peer has a session yet"
		}
		return ""
	}
	var lack []string
	for _, a := range last.Peers {
		p := states[a.String()]
		if p == nil || p.State == "Established" { // nil: the config names it no more
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
	return "BGP: sessions that there were before the update: " + strings.Join(lack, ", ")
}
