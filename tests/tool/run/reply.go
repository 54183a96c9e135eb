package main

import (
	"regexp"

	"anymx/edge/mail"
)

var words = regexp.MustCompile(`[0-9a-z]+`)

// spoolID returns the spool id in the edge's reply, "" if there is none.
func spoolID(reply string) string {
	for _, word := range words.FindAllString(reply, -1) {
		if id, err := mail.ParseID(word); err == nil && !id.IsZero() {
			return word
		}
	}
	return ""
}
