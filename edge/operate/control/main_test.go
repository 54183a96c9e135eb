package control

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails if a test leaves a goroutine of this package behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 {
		code = leftBehind()
	}
	os.Exit(code)
}

func leftBehind() int {
	var left []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		buf := make([]byte, 1<<20)
		left = nil
		for _, g := range strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "anymx/edge/operate/control") && !strings.Contains(g, "control.TestMain") {
				left = append(left, g)
			}
		}
		if left == nil {
			return 0
		}
	}
	fmt.Printf("goroutines left behind:\n%s\n", strings.Join(left, "\n\n"))
	return 1
}
