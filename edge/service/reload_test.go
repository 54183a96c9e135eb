package service

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"anymx/edge/config"
)

// reloadRig is a program that follows a config file and one other file.
type reloadRig struct {
	*Reloader
	file, beside string
	level        slog.LevelVar
	requests     chan struct{}
	refusal      error       // of Prepare
	missing      atomic.Bool // the other file is missing
	problem      string      // with the other file
	applied      []*config.Config

	mu      sync.Mutex
	rereads []bool // the value of changed in each call
}

const reloadable = `[node]
name = "ams1"
hostname = "mx.example.net"
[ingress]
max_errors = 7
[core]
addresses = ["127.0.0.1:2525"]
`

func newReloadRig(t *testing.T, options ReloadOptions) *reloadRig {
	t.Helper()
	dir := t.TempDir()
	r := &reloadRig{file: filepath.Join(dir, "anymx.toml"), beside: filepath.Join(dir, "beside"), requests: make(chan struct{})}
	r.write(t, r.file, reloadable)
	r.write(t, r.beside, "1")
	c, err := config.Load(r.file, "core")
	if err != nil {
		t.Fatal(err)
	}
	options.File, options.Sections, options.Config = r.file, []string{"core"}, c
	options.Log, options.Level, options.Requests = slog.New(slog.DiscardHandler), &r.level, r.requests
	options.Prepare = func(_ context.Context, now, next *config.Config) (func(), error) {
		if now != r.Config() {
			t.Error("prepared from another config than the one in force")
		}
		return func() { r.applied = append(r.applied, next) }, r.refusal
	}
	options.Files = func(*config.Config) []string { return []string{r.beside, ""} }
	options.Reread = func(_ context.Context, changed bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.rereads = append(r.rereads, changed)
	}
	options.Missing = func() bool { return r.missing.Load() }
	options.Problem = func() string { return r.problem }
	r.Reloader = NewReloader(options)
	return r
}

func (r *reloadRig) write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// edit replaces text in the config file.
func (r *reloadRig) edit(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(r.file)
	if err != nil || !strings.Contains(string(text), from) {
		t.Fatal(err, string(text))
	}
	r.write(t, r.file, strings.Replace(string(text), from, to, 1))
}

// A reload applies what it can, and names the keys that wait for a restart until there is one.
func TestReload(t *testing.T) {
	r := newReloadRig(t, ReloadOptions{})
	r.edit(t, `max_errors = 7`, "max_errors = 8\nlisten = [\"127.0.0.1:2599\"]")
	r.edit(t, `[core]`, "[log]\nlevel = \"debug\"\n[core]")
	got, err := r.Reload(t.Context())
	if err != nil || !slices.Equal(got.Changed, []string{"ingress.max_errors", "log.level"}) || !slices.Equal(got.Restart, []string{"ingress.listen"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	c := r.Config()
	if len(r.applied) != 1 || r.applied[0] != c || c.Ingress.MaxErrors != 8 || slices.Contains(c.Ingress.Listen, "127.0.0.1:2599") {
		t.Errorf("in force: %+v", c.Ingress)
	}
	if r.level.Level() != slog.LevelDebug {
		t.Error("level", r.level.Level())
	}
	got, err = r.Reload(t.Context())
	if s := r.Status(); err != nil || len(got.Changed) != 0 || !slices.Equal(s.Restart, []string{"ingress.listen"}) || s.Problem != "" || s.File != r.file {
		t.Errorf("%+v, %v, %+v", got, err, s)
	}
}

// A config with an error, or one that the program refuses, changes only the status.
func TestReloadRefused(t *testing.T) {
	r := newReloadRig(t, ReloadOptions{})
	before := r.Config()
	refused := func(want string) {
		t.Helper()
		_, err := r.Reload(t.Context())
		if s := r.Status(); err == nil || !strings.Contains(err.Error(), want) || s.Problem != err.Error() || s.Partly {
			t.Errorf("%v, %+v", err, s)
		}
		if r.Config() != before || len(r.applied) != 0 || r.level.Level() != slog.LevelInfo {
			t.Error("something has changed")
		}
	}
	r.edit(t, "max_errors", "colour")
	refused("ingress.colour: unknown key")
	r.edit(t, "colour", "max_errors")
	r.edit(t, "[core]", "[log]\nlevel = \"debug\"\n[core]")
	r.refusal = errors.New("the certificate can't be read")
	refused("the certificate can't be read")
	r.refusal = nil
	if _, err := r.Reload(t.Context()); err != nil || r.Status().Problem != "" {
		t.Error(err, r.Status())
	}
}

// If a config is in force without one of its files, the status says so until the file is read.
func TestReloadPartly(t *testing.T) {
	r := newReloadRig(t, ReloadOptions{})
	r.problem = "beside: gone"
	_, err := r.Reload(t.Context())
	if s := r.Status(); err == nil || !strings.Contains(err.Error(), "in force") || s.Problem != "beside: gone" || !s.Partly || len(r.applied) != 1 {
		t.Fatalf("%v, %+v", err, s)
	}
	r.write(t, r.beside, "22")
	r.problem = ""
	r.reread(t.Context())
	if s := r.Status(); s.Problem != "" || s.Partly || !slices.Equal(r.rereads, []bool{true}) {
		t.Errorf("%+v, %v", s, r.rereads)
	}
}

// Files are read again when they change, and periodically while one is missing.
func TestReread(t *testing.T) {
	for _, onlyMissing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			checks := 0
			r := newReloadRig(t, ReloadOptions{OnlyMissing: onlyMissing, Check: func() { checks++ }})
			ctx, end := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); r.Run(ctx) }()
			pass := func(ticks int) []bool {
				for range ticks {
					sleepTick()
				}
				r.mu.Lock()
				defer r.mu.Unlock()
				got := r.rereads
				r.rereads = nil
				return got
			}
			if got := pass(20); got != nil {
				t.Errorf("read without a change: %v", got)
			}
			r.write(t, r.beside, "22")
			want := []bool{true}
			if onlyMissing {
				want = nil
			}
			if got := pass(20); !slices.Equal(got, want) {
				t.Errorf("only missing %v: a change: %v", onlyMissing, got)
			}
			r.missing.Store(true)
			if got := pass(20); len(got) < 1 || len(got) > 2 || got[len(got)-1] && !onlyMissing {
				t.Errorf("only missing %v: missing: %v", onlyMissing, got)
			}
			r.requests <- struct{}{}
			if pass(1); len(r.applied) != 1 || checks < 60 {
				t.Errorf("%d reloads, %d checks", len(r.applied), checks)
			}
			end()
			<-done
		})
	}
}

// sleepTick lets one check interval pass in a test's bubble.
func sleepTick() {
	time.Sleep(WatchEvery)
	synctest.Wait()
}
