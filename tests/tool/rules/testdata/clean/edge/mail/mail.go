// Package mail breaks no rule.
package mail

import "time"

// Age is how old a message is at now.
func Age(arrived, now time.Time) time.Duration { return now.Sub(arrived) }
