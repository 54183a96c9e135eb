package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Changes are logged, once each; the metric counts the things of each part.
func TestDegraded(t *testing.T) {
	var log strings.Builder
	d := NewDegraded(slog.New(slog.NewTextHandler(&log, nil)), "list", "page")
	registry := prometheus.NewRegistry()
	registry.MustRegister(d)
	broken := errors.New("it is\nbroken")
	for range 3 {
		d.ReportAll("list", map[string]error{"a": broken, "b": broken, "c": nil})
	}
	d.Report("page", "x", nil)
	if n := strings.Count(log.String(), "level=ERROR"); n != 2 || len(d.List()) != 2 || d.List()[1].Problem != "it is; broken" || !d.Any("list") || d.Any("page") {
		t.Errorf("%d errors, %+v", n, d.List())
	}
	want := "# HELP anymx_degraded Things of this part that are missing or broken, and that the program goes without.\n" +
		"# TYPE anymx_degraded gauge\nanymx_degraded{part=\"list\"} 2\nanymx_degraded{part=\"page\"} 0\n"
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "anymx_degraded"); err != nil {
		t.Error(err)
	}
	d.ReportAll("list", map[string]error{"b": broken})
	d.Report("list", "b", nil)
	if n := strings.Count(log.String(), "level=INFO"); n != 2 || len(d.List()) != 0 {
		t.Errorf("%d lines of what is well again, %+v", n, d.List())
	}
}

// A listener that can't open its socket opens it later; one that never can ends when it is closed.
func TestLateListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		attempts, outcomes := 0, []error{}
		l := ListenLate(func(context.Context) (net.Listener, error) {
			attempts++
			return nil, errors.New("in use")
		}, func(err error) { outcomes = append(outcomes, err) })
		if l.Err() == nil || attempts != 1 {
			t.Errorf("%v after %d attempts", l.Err(), attempts)
		}
		ended := make(chan error)
		go func() {
			_, err := l.Accept()
			ended <- err
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		if attempts < 12 || attempts > 16 || len(outcomes) != attempts {
			t.Errorf("%d attempts in a minute, %d outcomes", attempts, len(outcomes))
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// Listening works on an address that is not on the machine yet.
func TestListenTCPAhead(t *testing.T) {
	for _, address := range []string{"192.0.2.77:0", "[2001:db8::77]:0"} {
		l, err := ListenTCP(t.Context(), address)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A program goes on after the reader of its log has ended.
func TestLogReaderGone(t *testing.T) {
	const mark = "ANYMX_TEST_LOG"
	if os.Getenv(mark) != "" {
		p := Program{Name: "anymx-x", Sections: []string{"core"}, Run: func(_ context.Context, env *Env) error {
			fmt.Println("ready")
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until the reader is gone
			env.Log.Error("nobody reads this")
			fmt.Println("alive")
			return Code(7)
		}}
		os.Exit(p.main([]string{"-config", os.Getenv(mark)}, os.Stdout, os.Stderr))
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLogReaderGone$")
	cmd.Env = append(os.Environ(), mark+"="+write(t, good))
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = log.Close()
	_, _ = in.Write([]byte("\n"))
	_ = cmd.Wait() // the test checks the exit code
	if code := cmd.ProcessState.ExitCode(); code != 7 || out.String() != "ready\nalive\n" {
		t.Errorf("it ended with %s: %q", cmd.ProcessState, out.String())
	}
}
