// Package kit is what tests of all rooms share: waiting for a condition, finding leaked goroutines
// and files, free addresses, processes, and network namespaces. It knows nothing of mail.
//
// Use Eventually where a test waits for something that another goroutine or process does, Run in
// TestMain to find what the tests leave behind, and Start for each program that a test runs beside
// itself.
package kit

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// Patience is how long Eventually waits. It is never waited for where things work.
const Patience = 20 * time.Second

// Eventually waits until ok is true. It fails the test if that takes longer than Patience; what
// says what did not happen.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	EventuallyIn(t, Patience, what, ok)
}

// EventuallyIn is Eventually with another limit than Patience.
func EventuallyIn(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	if !Within(limit, ok) {
		t.Fatalf("did not happen within %s: %s", limit, what)
	}
}

// Within polls until ok is true, at most for limit. It reports whether ok became true.
func Within(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// Poll calls ready until it returns nil. It gives up when limit has passed or ctx ends, and then
// returns the last reason. What takes ready long is asked less often.
func Poll(ctx context.Context, limit time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		began := time.Now()
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s: %w", limit, err)
		case <-time.After(max(20*time.Millisecond, 2*time.Since(began))):
		}
	}
}
