//go:build anymx_testclock

package service

import (
	"os"
	"strings"
	"time"
)

// A program that is built with the tag anymx_testclock, which no release is, reads by how much its wall clock
// is off from the file that ANYMX_TEST_CLOCK names, at each look, so that a test can set it while it runs.
func init() {
	file := os.Getenv("ANYMX_TEST_CLOCK")
	if file == "" {
		return
	}
	wallNow = func() time.Time {
		text, _ := os.ReadFile(file) // no file: the clock is right
		by, _ := time.ParseDuration(strings.TrimSpace(string(text)))
		return time.Now().Add(by)
	}
}
