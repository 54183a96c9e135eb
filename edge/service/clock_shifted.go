//go:build anymx_testclock

package service

import (
	"os"
	"strings"
	"time"
)

// A build with the tag anymx_testclock, which is never used for a release, reads the offset of its
// wall clock from the file that ANYMX_TEST_CLOCK names. It reads the file at each call, so that a
// test can change the offset while the program runs.
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
