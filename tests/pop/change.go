package pop

import (
	"maps"
	"strings"
)

// Change is a test of one config key that a running program reloads: the key has an old and a new
// value, and each has an effect that somebody outside sees. T is what observes.
type Change[T any] struct {
	Key     string
	Was, Is string            // values before and after; Was "": as in the base config
	With    map[string]string // other keys, before and after
	// Observe returns what is seen from outside. It must be Before with the old value and After with
	// the new one.
	Observe       func(T) string
	Before, After string
}

// Values returns the keys to set before and after the change.
func (c Change[T]) Values() (before, after map[string]string) {
	before, after = map[string]string{}, map[string]string{}
	maps.Copy(before, c.With)
	if c.Was != "" {
		before[c.Key] = c.Was
	}
	maps.Copy(after, before)
	after[c.Key] = c.Is
	return before, after
}

// WithValues returns the text of a config with keys set, each to its value with dir for "<dir>".
func WithValues(text string, values map[string]string, dir string) string {
	for key, value := range values {
		at := strings.LastIndex(key, ".")
		text = WithValue(text, key[:at], key[at+1:], strings.ReplaceAll(value, "<dir>", dir))
	}
	return text
}
