package service

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const good = `[node]
name = "ams1"
hostname = "mx.example.net"
[core]
addresses = ["127.0.0.1:2525"]
[log]
level = "warn"
`

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "anymx.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestMain_exitCodes(t *testing.T) {
	file := write(t, good)
	failed := errors.New("the disk is gone")
	for name, test := range map[string]struct {
		args           []string
		run            error
		code           int
		stdout, stderr string
	}{
		"good":            {args: []string{"-config", file}},
		"failed":          {args: []string{"-config", file}, run: failed, code: 1, stderr: "anymx-x: the disk is gone\n"},
		"its own code":    {args: []string{"-config", file}, run: Code(3), code: 3},
		"version":         {args: []string{"-version"}, stdout: Version() + "\n"},
		"unknown flag":    {args: []string{"-x"}, code: 2, stderr: "flag provided but not defined: -x"},
		"no flag":         {args: []string{"x"}, code: 2, stderr: `anymx-x: "x" is not a flag`},
		"help":            {args: []string{"-h"}, stderr: "It does nothing.\n\nUsage: anymx-x [-config FILE]"},
		"no such file":    {args: []string{"-config", file + "x"}, code: 1, stderr: "anymx-x: "},
		"bad config":      {args: []string{"-config", write(t, good+"levle = 1\n")}, code: 1, stderr: "anymx.toml:8"},
		"missing section": {args: []string{"-config", write(t, "[node]\nname = \"a\"\nhostname = \"a.b\"\n")}, code: 1, stderr: "core"},
	} {
		t.Run(name, func(t *testing.T) {
			p := Program{Name: "anymx-x", Does: "It does nothing.", Help: "Example:\n", Sections: []string{"core"},
				Run: func(context.Context, *Env) error { return test.run }}
			var stdout, stderr strings.Builder
			if code := p.main(test.args, &stdout, &stderr); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if stdout.String() != test.stdout {
				t.Errorf("standard output %q, want %q", stdout.String(), test.stdout)
			}
			if !strings.Contains(stderr.String(), test.stderr) || test.stderr == "" && stderr.Len() > 0 {
				t.Errorf("standard error %q, want %q in it", stderr.String(), test.stderr)
			}
		})
	}
}

func TestRunGetsFlagsConfigAndSignals(t *testing.T) {
	file := write(t, good)
	var dry bool
	p := Program{
		Name: "anymx-x", Sections: []string{"core"},
		Flags: func(f *flag.FlagSet) { f.BoolVar(&dry, "plan", false, "say what would be done") },
		Run: func(ctx context.Context, env *Env) error {
			if !dry || env.File != file || env.Config.Node.Name != "ams1" {
				t.Errorf("plan %v, file %q, node %q", dry, env.File, env.Config.Node.Name)
			}
			if env.Log.Enabled(ctx, slog.LevelInfo) || !env.Log.Enabled(ctx, slog.LevelWarn) {
				t.Error("the log has another level than the config")
			}
			signal := func(s syscall.Signal) {
				if err := syscall.Kill(syscall.Getpid(), s); err != nil {
					t.Fatal(err)
				}
			}
			signal(syscall.SIGHUP)
			<-env.Reload
			signal(syscall.SIGTERM)
			<-ctx.Done()
			return nil
		},
	}
	var stdout, stderr strings.Builder
	if code := p.main([]string{"-plan", "-config", file}, &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
}
