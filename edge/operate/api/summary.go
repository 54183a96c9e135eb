package api

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// AgeGroups are the upper bounds of the age groups of a SummaryRow; the last group has no bound.
var AgeGroups = []time.Duration{
	time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour,
}

// Number of rows of a QueueSummary.
const (
	DefaultRows = 20
	MaxRows     = 1000 // a larger limit is cut to this
)

// QueueSummary is what is in the queue, by destination and age.
type QueueSummary struct {
	Rows         []SummaryRow `json:"rows"`         // those with the most legs first
	Destinations int          `json:"destinations"` // in all, also those without a row
}

// SummaryRow is what waits for one destination.
type SummaryRow struct {
	Destination string    `json:"destination"` // "" is the default core
	Legs        int64     `json:"legs"`
	Active      int64     `json:"active"`
	Waiting     int64     `json:"waiting"`
	Held        int64     `json:"held"`
	Bytes       int64     `json:"bytes"`
	Oldest      time.Time `json:"oldest,omitzero"`
	Next        time.Time `json:"next,omitzero"` // the next attempt; zero: none is scheduled
	// Ages counts legs by the age of their message: up to each of AgeGroups, and older.
	Ages  [8]int64 `json:"ages"`
	Waits string   `json:"waits,omitempty"` // why the destination gets nothing at present; one line
}

// ParseSummaryLimit reads the limit of a summary from URL parameters.
func ParseSummaryLimit(v url.Values) (int, error) {
	limit := DefaultRows
	for key, values := range v {
		n, err := strconv.Atoi(values[0])
		switch {
		case key != "limit":
			return 0, fmt.Errorf("parameter %q: unknown; known is limit", key)
		case err != nil || n < 1 || len(values) > 1:
			return 0, fmt.Errorf("parameter %q: %q is not a number of rows", key, values)
		}
		limit = min(n, MaxRows)
	}
	return limit, nil
}
