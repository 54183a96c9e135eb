package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a span of time. In the file it is text: "30s", "5m", "4h", "5d", "1h30m", "250ms"; a
// day is 24 hours. 0 needs no unit.
type Duration time.Duration

// Day is 24 hours.
const Day = Duration(24 * time.Hour)

// String renders the duration without the units that are zero: "5d", "1h30m", "250ms", "0s". What it
// returns for a duration of 0 or more is read back as the same duration.
func (d Duration) String() string {
	if d < 0 {
		return time.Duration(d).String()
	}
	days, rest := d/Day, time.Duration(d%Day)
	out := ""
	if days > 0 {
		if out = strconv.FormatInt(int64(days), 10) + "d"; rest == 0 {
			return out
		}
	}
	text := rest.String() // "4h0m0s", "1m0s", "1.5s", "0s"
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return out + text
}

// MarshalText renders the duration as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration. The error says in plain words what would be right.
func (d *Duration) UnmarshalText(text []byte) error {
	in := strings.TrimSpace(string(text))
	if strings.HasPrefix(in, "-") {
		return errors.New("must not be negative")
	}
	notOne := fmt.Errorf(`%s is not a duration; write a number and its unit, such as "30s", "5m", "4h" or "5d"`, quote(in))

	var days int64
	rest := in
	if before, after, found := strings.Cut(in, "d"); found {
		var err error
		if days, err = strconv.ParseInt(before, 10, 64); err != nil || before[0] == '+' {
			return notOne
		}
		if rest = after; rest == "" {
			rest = "0"
		}
	}
	if rest == "" || strings.ContainsAny(rest, "+-") {
		return notOne
	}
	span, err := time.ParseDuration(rest)
	if err != nil {
		return notOne
	}
	if days > (math.MaxInt64-int64(span))/int64(Day) {
		return fmt.Errorf("%s is longer than a duration can be", quote(in))
	}
	*d = Duration(days)*Day + Duration(span)
	return nil
}
