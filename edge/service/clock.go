package service

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/operate/api"
	"anymx/edge/operate/words"
)

const (
	// clockEvery is how often the wall clock is compared with the monotonic one.
	clockEvery = time.Second
	// stepLeast is the least step: NTP slews a clock by at most half a millisecond per second.
	stepLeast = 500 * time.Millisecond
)

// wallNow reads the machine's wall clock. A build for tests replaces it.
var wallNow = time.Now

// Clock is the machine's wall clock, and what is known of it. A nil Clock is time.Now. It is safe for use
// by many goroutines, and a prometheus.Collector:
//
//	anymx_clock_synchronised   1 if the clock is kept right, 0 if not; absent if not known
//	anymx_clock_before_build   1 while the clock is before the date of the program's commit
//	anymx_clock_steps_total    how often the clock was set
type Clock struct {
	log   *slog.Logger
	wall  func() time.Time
	built time.Time // zero: not known
	sync  func() (synchronised, known bool)
	start time.Time     // of the Clock, with its monotonic reading
	off   time.Duration // the wall clock minus the monotonic one, at the last check; used by Run only

	mu      sync.Mutex
	steps   int64
	step    time.Duration
	stepped time.Time
}

// NewClock reads the clock for the first time, and warns if it is before the program was built.
func NewClock(log *slog.Logger) *Clock { return newClock(log, wallNow, api.Built()) }

func newClock(log *slog.Logger, wall func() time.Time, built time.Time) *Clock {
	c := &Clock{log: log, wall: wall, built: built, sync: synchronised, start: time.Now()}
	c.off = c.offset()
	if now := wall(); now.Before(built) {
		log.Warn("the clock is before this program was built; mail is dated from then on", "clock", now, "built", built)
	}
	return c
}

func (c *Clock) offset() time.Duration {
	now := c.wall()
	return now.Round(0).Sub(c.start.Round(0)) - time.Since(c.start)
}

// Now returns the wall clock's time. While that is before the date of the build, and so certainly
// wrong, it returns that date plus the time since the start: mail is never dated in 1970.
func (c *Clock) Now() time.Time {
	if c == nil {
		return time.Now()
	}
	now := c.wall()
	if now.Before(c.built) {
		return c.built.Add(time.Since(c.start))
	}
	return now
}

// Run checks for steps of the clock until ctx ends.
func (c *Clock) Run(ctx context.Context) {
	tick := time.NewTicker(clockEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.look()
		}
	}
}

func (c *Clock) look() {
	off := c.offset()
	step := off - c.off
	c.off = off
	if step.Abs() < stepLeast {
		return
	}
	now := c.wall()
	c.log.Warn("the clock was set", "by", step.Round(time.Millisecond), "to", now)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps++
	c.step, c.stepped = step, now.Round(0)
}

// Status returns what is known about the clock; nil for a nil Clock.
func (c *Clock) Status() *api.ClockStatus {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	s := &api.ClockStatus{Steps: c.steps, Step: api.Seconds(c.step), Stepped: c.stepped}
	c.mu.Unlock()
	s.Built, s.BeforeBuild = c.built, c.wall().Before(c.built)
	if is, known := c.sync(); known {
		s.Synchronised = &is
	}
	return s
}

// Problem returns what may be wrong with the clock; "" if nothing is known to be.
func (c *Clock) Problem() string { return words.ClockProblem(c.Status()) }

var (
	descSynchronised = prometheus.NewDesc("anymx_clock_synchronised", "1 if somebody keeps the wall clock right, 0 if not; absent if that is not known.", nil, nil)
	descBeforeBuild  = prometheus.NewDesc("anymx_clock_before_build", "1 while the wall clock is before the date of the program's commit.", nil, nil)
	descSteps        = prometheus.NewDesc("anymx_clock_steps_total", "Times that the wall clock was seen to be set.", nil, nil)
)

// Describe sends the descriptions of the metrics.
func (c *Clock) Describe(ch chan<- *prometheus.Desc) {
	ch <- descSynchronised
	ch <- descBeforeBuild
	ch <- descSteps
}

// Collect sends the current values.
func (c *Clock) Collect(ch chan<- prometheus.Metric) {
	s := c.Status()
	if s == nil {
		return
	}
	one := map[bool]float64{true: 1}
	if s.Synchronised != nil {
		ch <- prometheus.MustNewConstMetric(descSynchronised, prometheus.GaugeValue, one[*s.Synchronised])
	}
	ch <- prometheus.MustNewConstMetric(descBeforeBuild, prometheus.GaugeValue, one[s.BeforeBuild])
	ch <- prometheus.MustNewConstMetric(descSteps, prometheus.CounterValue, float64(s.Steps))
}

// timesync is where systemd-timesyncd records that it has set the clock.
const timesync = "/run/systemd/timesync"

// synchronised asks the kernel, to which every NTP client reports that it keeps the clock right. If
// a sandbox forbids that call, as systemd's ProtectClock= does, the file of systemd-timesyncd
// decides.
func synchronised() (is, known bool) {
	var t unix.Timex // Modes is 0: nothing is set
	if state, err := unix.Adjtimex(&t); err == nil {
		return state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, true
	}
	return synchronisedBy(os.DirFS(filepath.Dir(timesync)), filepath.Base(timesync))
}

// synchronisedBy checks for timesyncd's file.
func synchronisedBy(run fs.FS, dir string) (is, known bool) {
	if _, err := fs.Stat(run, dir+"/synchronized"); err == nil {
		return true, true
	}
	_, err := fs.Stat(run, dir)
	return false, err == nil
}
