// GoBGP takes what listens for plain TCP. On an MPTCP socket it could set no
// password and no TTL, and would only log that.
//go:debug multipathtcp=0

package bgp

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails the tests if a goroutine of theirs outlives them: the
// speaker's, or one of the routers at the far side.
func TestMain(m *testing.M) {
	code := m.Run()
	if left := leaked(5 * time.Second); code == 0 && left != "" {
		fmt.Fprintln(os.Stderr, "goroutines left behind:\n"+left)
		code = 1
	}
	os.Exit(code)
}

// leaked is the stacks of the goroutines of this package, and of GoBGP, that
// have not ended within the time.
func leaked(within time.Duration) string {
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 4<<20)
		buf = buf[:runtime.Stack(buf, true)]
		var left []string
		for stack := range strings.SplitSeq(string(buf), "\n\n") {
			ours := strings.Contains(stack, "anymx/bgp.") && !strings.Contains(stack, "anymx/bgp.TestMain")
			if ours || strings.Contains(stack, "osrg/gobgp") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(end) {
			return strings.Join(left, "\n\n")
		}
	}
}
