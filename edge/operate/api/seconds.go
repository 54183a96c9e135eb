package api

import (
	"fmt"
	"strconv"
	"time"
)

// Seconds is a duration that JSON shows as a number of seconds with three decimals. The JSON name
// of every field of this type ends in "_seconds", so that the unit is always visible.
type Seconds time.Duration

// Duration returns s as a time.Duration.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// String formats s as a time.Duration does.
func (s Seconds) String() string { return time.Duration(s).String() }

// MarshalJSON writes s in seconds, rounded to a millisecond.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Round(time.Millisecond).Seconds(), 'f', 3, 64), nil
}

// maxSeconds is the longest duration that is read: 291 years, just below what a time.Duration holds.
// A clock that was wrong by decades is set by as much.
const maxSeconds = 9.2e9

// UnmarshalJSON reads a number of seconds.
func (s *Seconds) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		return nil // null changes nothing, as in encoding/json
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || f > maxSeconds || f < -maxSeconds {
		return fmt.Errorf("%q is not a number of seconds", text)
	}
	*s = Seconds(time.Duration(f * float64(time.Second)).Round(time.Millisecond))
	return nil
}
