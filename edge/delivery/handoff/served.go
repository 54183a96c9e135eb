package handoff

import "time"

// servedFor is how long it counts that an address has served a domain.
const servedFor = 10 * time.Second

// served are the two recipient domains that an address has served last, without calling itself busy. The
// zero value has none.
type served struct {
	domain [2]string // the last one first
	at     [2]time.Time
}

// note records that a message to domain was served at now.
func (s *served) note(domain string, now time.Time) {
	if s.domain[0] != domain {
		s.domain[1], s.at[1] = s.domain[0], s.at[0]
	}
	s.domain[0], s.at[0] = domain, now
}

// other reports whether another domain than this one was served lately.
func (s *served) other(domain string, now time.Time) bool {
	for i := range s.domain {
		if s.domain[i] != domain && !s.at[i].IsZero() && now.Sub(s.at[i]) < servedFor {
			return true
		}
	}
	return false
}
