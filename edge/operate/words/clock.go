package words

import (
	"fmt"
	"time"

	"anymx/edge/operate/api"
)

// ClockProblem returns what may be wrong with the clock; "" if nothing is known to be.
func ClockProblem(c *api.ClockStatus) string {
	switch {
	case c == nil:
		return ""
	case c.BeforeBuild:
		return "the clock is before this program was built (" + c.Built.UTC().Format(time.DateOnly) + "); set it, or give the machine an NTP server"
	case c.Synchronised != nil && !*c.Synchronised:
		return "the clock is not synchronised; give the machine an NTP server"
	case c.Steps > 0:
		return "the clock was " + clockStepText(c)
	}
	return ""
}

func clockStepText(c *api.ClockStatus) string {
	if c.Step < 0 {
		return "set back by " + Span(-c.Step.Duration(), true)
	}
	return "set ahead by " + Span(c.Step.Duration(), true)
}

func clockText(c *api.ClockStatus, now time.Time) []Line {
	if c == nil {
		return nil
	}
	text := "not known whether it is synchronised"
	if c.Synchronised != nil {
		text = "not synchronised"
		if *c.Synchronised {
			text = "synchronised"
		}
	}
	if c.Steps > 0 {
		text += fmt.Sprintf("; set %s since the start, last %s, %s", times(c.Steps), clockStepText(c), When(c.Stepped, now))
	}
	lines := plainLine(text)
	if c.BeforeBuild {
		lines = append(lines, Line{ClockProblem(c), true})
	}
	return lines
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return Count(n) + " times"
}
