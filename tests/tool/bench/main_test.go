package main

import (
	"fmt"
	"os"
	"testing"
)

// TestMain lets the test binary be the sink, the discarding server and the program that enters a
// control group, as the benchmark's own binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "sink", "discard", "enter":
			if err := dispatch(os.Args[1:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}
