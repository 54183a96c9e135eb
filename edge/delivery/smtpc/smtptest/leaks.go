package smtptest

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// Run runs the tests of a package and returns the exit code, which is also 1 if they leaked a
// goroutine or a file descriptor.
func Run(m *testing.M) int {
	flag.Parse()
	goroutines, files := runtime.NumGoroutine(), openFiles()
	code := m.Run()
	if f := flag.Lookup("test.fuzz"); code != 0 || f != nil && f.Value.String() != "" {
		return code
	}
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines || openFiles() > files+spare; {
		if time.Now().After(end) {
			fmt.Fprintf(os.Stderr, "leaked: goroutines %d, were %d; files %d, were %d\n",
				runtime.NumGoroutine(), goroutines, openFiles(), files)
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			return 1
		}
		time.Sleep(10 * time.Millisecond)
	}
	return code
}

// spare is how many files the runtime keeps open once it has used the network.
const spare = 3

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
