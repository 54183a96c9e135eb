package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"anymx/tests/kit"
)

func TestLocked(t *testing.T) {
	eachShape(t, func(t *testing.T, o Options) {
		s := openTest(t, o)
		if _, err := Open(o); !errors.Is(err, ErrLocked) {
			t.Errorf("opened twice: %v", err)
		}
		store(t, s, []byte("goes on"))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		openTest(t, o)
	})
}

// Another process holds the spool.
func TestLockedByProcess(t *testing.T) {
	if dir := os.Getenv("SPOOL_TEST_DIR"); dir != "" && os.Getenv(childOf) != "" {
		o := testOptions(nil)
		o.Dir = dir
		if _, err := Open(o); !errors.Is(err, ErrLocked) {
			t.Fatalf("opened what another process holds: %v", err)
		}
		return
	}
	o := testOptions(nil)
	o.Dir = t.TempDir()
	openTest(t, o)
	t.Setenv("SPOOL_TEST_DIR", o.Dir)
	inChild(t)
}

// A store of a newer schema, or in a format unknown to the engine, is refused, and not a byte of it
// changes.
func TestNewer(t *testing.T) {
	for name, age := range map[string]func(t *testing.T, dir string){
		"schema": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "VERSION"), fmt.Sprintln("anymx spool", Schema+1))
		},
		"engine": func(t *testing.T, dir string) {
			old, err := filepath.Glob(filepath.Join(dir, "engine", "marker.format-version.*"))
			if err != nil || len(old) != 1 {
				t.Fatal(old, err)
			}
			if err := os.Rename(old[0], filepath.Join(dir, "engine", "marker.format-version.000099.999")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions(nil)
			o.Dir = t.TempDir()
			s := openTest(t, o)
			store(t, s, []byte("body"))
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			age(t, o.Dir)
			before := tree(t, o.Dir)
			if _, err := Open(o); !errors.Is(err, ErrNewer) {
				t.Errorf("error %v, want ErrNewer", err)
			}
			if after := tree(t, o.Dir); !reflect.DeepEqual(before, after) {
				t.Errorf("changed: %v, before %v", after, before)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tree returns all that a directory holds, with times.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		all[path] = fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			all[path] += string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestOpenErrors(t *testing.T) {
	for _, c := range []struct {
		name, want string
		set        func(t *testing.T, o *Options)
	}{
		{"strange version", "is not a version of this program", func(t *testing.T, o *Options) { write(t, filepath.Join(o.Dir, "VERSION"), "something else") }},
		{"inline too big", "between 1 and", func(t *testing.T, o *Options) { o.InlineMax = MaxInline + 1 }},
		{"inline negative", "between 1 and", func(t *testing.T, o *Options) { o.InlineMax = -1 }},
		{"disk not known", "no figure", func(t *testing.T, o *Options) {
			o.DiskReserve, o.DiskFree = 1, func(string) (int64, error) { return 0, errors.New("no figure") }
		}},
		{"not a directory", "spool", func(t *testing.T, o *Options) { o.Dir = filepath.Join(o.Dir, "f"); write(t, o.Dir, "") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			kit.NoLeaks(t)
			o := Options{Dir: t.TempDir()}
			c.set(t, &o)
			s, err := Open(o)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), o.Dir) {
				t.Errorf("error %q", err)
			}
		})
	}
}
