package wire

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the tests if a goroutine of theirs outlives them.
func TestMain(m *testing.M) {
	if os.Getenv(processEnv) != "" {
		serveProcess()
		return
	}
	code := m.Run()
	if left := leaked(); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
		code = 1
	}
	os.Exit(code)
}

// leaked is the stacks of the goroutines that ran our code or go-smtp's and
// have not ended within a few seconds.
func leaked() string {
	var left []string
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 4<<20)
		buf = buf[:runtime.Stack(buf, true)]
		left = left[:0]
		for stack := range strings.SplitSeq(string(buf), "\n\n") {
			if strings.Contains(stack, "anymx/edge/ingress/wire.TestMain") {
				continue
			}
			if strings.Contains(stack, "anymx/edge/ingress/wire") || strings.Contains(stack, "emersion/go-smtp") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return ""
		}
	}
	return strings.Join(left, "\n\n")
}
