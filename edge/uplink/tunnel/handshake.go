package tunnel

import "time"

// handshake is what was observed of a peer's last handshake. The device dates it by the wall clock,
// which may be set at any moment, so its age is counted on the monotonic clock from when it was
// first seen. Pure: the time is passed in.
type handshake struct {
	date   time.Time // as reported by the device; zero: none
	seen   time.Time // when it was made, as far as known
	looked bool
}

// slack is how far in the future a handshake may be dated: the two clocks are not read at once.
const slack = time.Second

// fresh records the date that the device reports at now, and reports whether the handshake is
// recent enough for its keys to be in use. One that existed at the first look is as old as its date
// says, and not fresh if that is in the future; a date that changed since the last look belongs to
// a new handshake.
func (h *handshake) fresh(now, date time.Time) bool {
	if !h.looked || !date.Equal(h.date) {
		age := now.Sub(date)
		switch {
		case date.IsZero():
		case age >= -slack && (age <= alive || !h.looked):
			h.seen = now.Add(-max(age, 0))
		case h.looked:
			h.seen = now
		default:
			h.seen = now.Add(-alive - slack)
		}
		h.date, h.looked = date, true
	}
	return !h.date.IsZero() && now.Sub(h.seen) <= alive
}

// shown returns when the handshake was made, by the wall clock as it is set at now; zero: never. It
// is the device's date unless the clock was set since.
func (h *handshake) shown(now time.Time) time.Time {
	if h.date.IsZero() {
		return time.Time{}
	}
	made := now.Add(-now.Sub(h.seen)).Round(0)
	if h.date.Sub(made).Abs() <= 2*pace {
		return h.date
	}
	return made
}
