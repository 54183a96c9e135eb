package service

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"anymx/edge/operate/words"
)

// A step of the clock is logged with its size, counted, and shown in the status; a slow adjustment,
// as by NTP, is not a step.
func TestClockSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var off atomic.Int64
		var log bytes.Buffer
		c := newClock(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return time.Now().Add(time.Duration(off.Load())) }, time.Time{})
		c.sync = func() (bool, bool) { return false, false }
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { c.Run(ctx); close(done) }()
		for range 3600 {
			time.Sleep(time.Second)
			off.Add(int64(500 * time.Microsecond))
		}
		synctest.Wait()
		if s := c.Status(); s.Steps != 0 || s.Synchronised != nil || words.ClockProblem(s) != "" || log.Len() != 0 {
			t.Errorf("after an hour: %+v, %s", s, log.String())
		}
		for i, by := range []time.Duration{10 * 365 * 24 * time.Hour, -11 * 365 * 24 * time.Hour, 2 * time.Second} {
			log.Reset()
			off.Add(int64(by))
			time.Sleep(2 * time.Second)
			synctest.Wait()
			s := c.Status()
			if s.Steps != int64(i+1) || (s.Step.Duration()-by).Abs() > time.Millisecond || !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), " by=") {
				t.Errorf("set by %v: %+v\n%s", by, s, log.String())
			}
			if !strings.Contains(words.ClockProblem(s), "the clock was set ") {
				t.Error(words.ClockProblem(s))
			}
		}
		cancel()
		<-done
	})
}

// A clock before the build's date is wrong, and does not date mail; once set, it does.
func TestClockBeforeBuild(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		built := time.Date(2026, 11, 22, 14, 0, 0, 0, time.UTC)
		now := time.Unix(20, 0)
		var log bytes.Buffer
		c := newClock(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now }, built)
		c.sync = func() (bool, bool) { return false, true }
		time.Sleep(time.Minute)
		if got := c.Now(); !got.Equal(built.Add(time.Minute)) {
			t.Errorf("dated %v", got)
		}
		if s := c.Status(); !s.BeforeBuild || !strings.Contains(words.ClockProblem(s), "2026-11-22") || !strings.Contains(log.String(), "level=WARN") {
			t.Errorf("%+v, %s", s, log.String())
		}
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(c)
		want := `
# HELP anymx_clock_before_build 1 while the wall clock is before the date of the program's commit.
# TYPE anymx_clock_before_build gauge
anymx_clock_before_build 1
# HELP anymx_clock_steps_total Times that the wall clock was seen to be set.
# TYPE anymx_clock_steps_total counter
anymx_clock_steps_total 0
# HELP anymx_clock_synchronised 1 if somebody keeps the wall clock right, 0 if not; absent if that is not known.
# TYPE anymx_clock_synchronised gauge
anymx_clock_synchronised 0
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
		now = built.Add(24 * time.Hour)
		if got := c.Now(); !got.Equal(now) {
			t.Errorf("dated %v after it was set", got)
		}
	})
}

// Test programs have a nil Clock, and use the machine's time.
func TestNoClock(t *testing.T) {
	var c *Clock
	if c.Status() != nil || c.Problem() != "" || time.Since(c.Now()).Abs() > time.Minute {
		t.Errorf("%v, %q, %v", c.Status(), c.Problem(), c.Now())
	}
}

func TestSynchronisedBy(t *testing.T) {
	for name, tt := range map[string]struct {
		files     []string
		is, known bool
	}{
		"no timesyncd": {[]string{"other/file"}, false, false},
		"not yet":      {[]string{"timesync/other"}, false, true},
		"synchronised": {[]string{"timesync/synchronized"}, true, true},
	} {
		run := fstest.MapFS{}
		for _, f := range tt.files {
			run[f] = &fstest.MapFile{}
		}
		if is, known := synchronisedBy(run, "timesync"); is != tt.is || known != tt.known {
			t.Errorf("%s: %v, %v", name, is, known)
		}
	}
	if is, known := synchronised(); is && !known {
		t.Error("synchronised, and not known")
	}
}
