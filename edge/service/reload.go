package service

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"anymx/edge/config"
	"anymx/edge/operate/api"
)

// rereadEvery is how often files are read again while one of them is missing or broken, even if
// their stamps are unchanged: a disk may recover without a change.
const rereadEvery = 30 * time.Second

// ReloadOptions configures how a program follows its config file. Functions are called by one
// goroutine at a time; those with "may be nil" are optional.
type ReloadOptions struct {
	File     string         // of the config
	Sections []string       // that the config must have (config.Load)
	Config   *config.Config // as it was loaded from File
	Log      *slog.Logger
	Level    *slog.LevelVar // of Log; nil: a reload leaves it alone
	// Requests gets a value for each SIGHUP; nil disables it.
	Requests <-chan struct{}
	// Merge returns the config in force after a reload, and the keys that wait for a restart of
	// this program; nil: Config.Reloaded and Config.NeedsRestart.
	Merge func(now, next *config.Config) (merged *config.Config, restart []string)
	// Prepare reads and checks all that next needs. Its error refuses the reload, and nothing has
	// changed. apply puts next in force; it can't fail.
	Prepare func(ctx context.Context, now, next *config.Config) (apply func(), err error)

	// Files returns those beside the config that are read again when they change; may be nil. "" is
	// a file without a path, which never changes.
	Files func(*config.Config) []string
	// Reread reads those files again. changed is false if only the interval has passed.
	Reread func(ctx context.Context, changed bool)
	// Missing reports whether one of the files is missing or broken.
	Missing func() bool
	// OnlyMissing ignores changed files until the next reload, unless one is missing.
	OnlyMissing bool
	// Problem says which files are not in use although the config is in force; may be nil.
	Problem func() string
	// Check is called every WatchEvery; may be nil.
	Check func()
}

// Reloader holds a program's config and follows its file: for each SIGHUP and each request over the
// control socket it reads and checks the whole file, and puts it in force or changes nothing. Files
// beside the config are read again when they change. It is safe for concurrent use.
//
//	anymx_config_reloads_total   result: good, bad
type Reloader struct {
	options ReloadOptions
	reloads *prometheus.CounterVec

	reloading sync.Mutex       // one reload or rereading at a time; guards what follows
	stamps    map[string]Stamp // of the files just before they were read
	read      time.Time        // when they were read

	state atomic.Pointer[reloadState]
}

// reloadState is the config in force, and the result of the last reload.
type reloadState struct {
	config  *config.Config
	loaded  time.Time
	problem string   // why the last reload changed nothing, or which files are not in use
	partly  bool     // the config is in force, but not every file
	restart []string // keys of the file that wait for a restart
}

// NewReloader returns a Reloader. Files that change after this call are read again, so call it
// before they are read first.
func NewReloader(o ReloadOptions) *Reloader {
	if o.Merge == nil {
		o.Merge = func(now, next *config.Config) (*config.Config, []string) {
			return now.Reloaded(next), now.NeedsRestart(next)
		}
	}
	r := &Reloader{options: o, reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "anymx_config_reloads_total", Help: "Reloads of the config by their result.",
	}, []string{"result"})}
	for _, result := range []string{"good", "bad"} {
		r.reloads.WithLabelValues(result)
	}
	r.state.Store(&reloadState{config: o.Config, loaded: time.Now()})
	r.stamp(o.Config)
	return r
}

// Config returns the config in force. Its caller must not change it.
func (r *Reloader) Config() *config.Config { return r.state.Load().config }

// Status reports which config is in force, what waits for a restart, and what is wrong.
func (r *Reloader) Status() *api.ConfigStatus {
	s := r.state.Load()
	return &api.ConfigStatus{
		File: r.options.File, Loaded: s.loaded, Problem: s.problem, Partly: s.partly, Restart: slices.Clone(s.restart),
	}
}

// Run reloads for each request and rereads changed files, until ctx ends.
func (r *Reloader) Run(ctx context.Context) {
	tick := time.NewTicker(WatchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.options.Requests:
			_, _ = r.Reload(ctx) // it logs its result
		case <-tick.C:
			if r.options.Check != nil {
				r.options.Check()
			}
			r.reread(ctx)
		}
	}
}

// Reload reads the config again. On any error nothing changes, and the status has the reason.
func (r *Reloader) Reload(ctx context.Context) (api.Reloaded, error) {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	before := r.state.Load()
	next, err := config.Load(r.options.File, r.options.Sections...)
	if err != nil {
		return api.Reloaded{}, r.refuse(before, err)
	}
	merged, restart := r.options.Merge(before.config, next)
	r.stamp(merged)
	apply, err := r.options.Prepare(ctx, before.config, merged)
	if err != nil {
		return api.Reloaded{}, r.refuse(before, err)
	}
	after := &reloadState{config: merged, loaded: time.Now(), restart: restart}
	r.state.Store(after)
	apply()
	SetLevel(r.options.Level, next)
	r.reloads.WithLabelValues("good").Inc()
	changed := slices.DeleteFunc(before.config.Changed(next), func(key string) bool { return slices.Contains(restart, key) })
	r.options.Log.Info("reloaded", "changed", changed, "restart", restart)
	if r.noteProblem(after, true); r.state.Load().partly {
		return api.Reloaded{}, fmt.Errorf("the config is in force, but files that it names were not taken: %s", r.state.Load().problem)
	}
	return api.Reloaded{Changed: changed, Restart: restart}, nil
}

// refuse records why a reload changed nothing.
func (r *Reloader) refuse(before *reloadState, err error) error {
	r.stamp(before.config)
	r.state.Store(&reloadState{config: before.config, loaded: before.loaded, problem: err.Error(), restart: before.restart})
	r.reloads.WithLabelValues("bad").Inc()
	r.options.Log.Error("reload changed nothing", "err", err)
	return err
}

// noteProblem updates the status's problem with files. A reload sets it; rereading changes or
// clears it.
func (r *Reloader) noteProblem(s *reloadState, reloaded bool) {
	if r.options.Problem == nil || !reloaded && !s.partly {
		return
	}
	problem := r.options.Problem()
	if problem == s.problem {
		return
	}
	next := *s
	next.problem, next.partly = problem, problem != ""
	r.state.Store(&next)
}

// reread reads the files again if one of them has changed, or one has been missing for long enough.
func (r *Reloader) reread(ctx context.Context) {
	if r.options.Files == nil {
		return
	}
	r.reloading.Lock()
	defer r.reloading.Unlock()
	missing := r.options.Missing()
	if r.options.OnlyMissing && !missing {
		return
	}
	s := r.state.Load()
	changed := !maps.Equal(r.stamps, stampsOf(r.options.Files(s.config)))
	if !changed && (!missing || time.Since(r.read) < rereadEvery) {
		return
	}
	r.stamp(s.config)
	r.options.Reread(ctx, changed)
	r.noteProblem(s, false)
}

// stamp takes the stamps of the files of c before they are read, so that a later change has another
// stamp.
func (r *Reloader) stamp(c *config.Config) {
	r.read = time.Now()
	if r.options.Files != nil {
		r.stamps = stampsOf(r.options.Files(c))
	}
}

// stampsOf returns the stamps of files.
func stampsOf(paths []string) map[string]Stamp {
	stamps := make(map[string]Stamp, len(paths))
	for _, path := range paths {
		stamps[path] = StampOf(path) // "" has the zero stamp
	}
	return stamps
}

// Describe sends the description of the metric.
func (r *Reloader) Describe(to chan<- *prometheus.Desc) { r.reloads.Describe(to) }

// Collect counts the reloads.
func (r *Reloader) Collect(to chan<- prometheus.Metric) { r.reloads.Collect(to) }
