package service

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestSecondSignal sends a second signal at the moment at which a program learns of the first, or
// together with the first. It must kill the program each time.
func TestSecondSignal(t *testing.T) {
	const mark = "ANYMX_TEST_SECOND_SIGNAL"
	if os.Getenv(mark) != "" {
		ctx, release := stopContext()
		defer release()
		fmt.Println("started")
		<-ctx.Done()
		fmt.Println("stopping")
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test is over
		os.Exit(0)
	}
	for i := range 60 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSecondSignal$")
		cmd.Env = append(os.Environ(), mark+"=1", "GOMAXPROCS=1")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(out)
		await := func(want string) {
			if line, err := lines.ReadString('\n'); err != nil || line != want+"\n" {
				t.Errorf("%q, %v; want %q", line, err, want)
			}
		}
		await("started")
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if i%2 == 0 {
			await("stopping")
		}
		_ = cmd.Process.Signal(syscall.SIGINT)
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // its state says how it ended
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
			t.Fatalf("run %d: the second signal had no effect", i)
		}
		_ = in.Close()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
			t.Fatalf("run %d: %v, want a death by signal", i, cmd.ProcessState)
		}
	}
}
