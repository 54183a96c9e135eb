package service

import (
	"context"
	"time"
)

// Sleep waits for t. It reports false if ctx ended first.
func Sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
