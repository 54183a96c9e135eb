package spool

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"anymx/edge/mail"
)

// stored holds the acknowledged messages.
type stored map[mail.ID][]byte

// fill stores short and long messages.
func (st stored) fill(t *testing.T, s *Spool, n int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, uint64(len(st))))
	for i := range n {
		body := randomOf(rng, 100+i*37)
		if i%4 == 3 {
			body = randomOf(rng, 5000+i*100) // stored in a file
		}
		st[store(t, s, body).Envelope.ID] = body
	}
}

// check opens a store that was damaged. Either every acknowledged message is there, or the store is
// refused or needs attention, with no body file gone; an export then has the messages in want.
func (st stored) check(t *testing.T, fsys *vfs.MemFS, o Options, what string, want stored) (refused bool) {
	t.Helper()
	o.FS = &faultFS{FS: fsys}
	before := bodyFiles(t, o)
	s, err := Open(o)
	var u *Unsound
	switch {
	case errors.As(err, &u):
		if len(u.Problems) == 0 || !strings.Contains(u.Error(), "anymx spool set-aside") {
			t.Errorf("%s: %v", what, u)
		}
		st.checkExport(t, o, what, want)
		refused = true
	case err != nil:
		t.Errorf("%s: refused by another error: %v", what, err)
	default:
		lost := 0
		for id, body := range st {
			m, err := s.Load(id)
			if err == nil {
				var got []byte
				if got, err = bodyOf(m); err == nil && !bytes.Equal(got, body) {
					err = fmt.Errorf("another body")
				}
			}
			if errors.Is(err, ErrNotFound) {
				lost++
			} else if err != nil && s.Accepting() == nil && !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %s: %v", what, id, err)
			}
		}
		if lost > 0 && s.Attention() == nil {
			t.Errorf("%s: %d acknowledged messages are gone, and the spool says nothing", what, lost)
		}
		damaged := s.Accepting() != nil
		refused = s.Attention() != nil || damaged
		// Pebble keeps a reference to a blob file whose footer it could not read, and can't be closed.
		if err := s.Close(); err != nil && !(damaged && errors.Is(err, ErrEngine)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	after := bodyFiles(t, o)
	for name := range before {
		if !after[name] {
			t.Errorf("%s: body file %s is gone", what, name)
		}
	}
	return refused
}

// bodyFiles returns the names of all body files, including orphans.
func bodyFiles(t *testing.T, o Options) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	folders, _, err := orphanFolders(o.FS, o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	dirs := []string{o.Dir + "/bodies"}
	for _, f := range folders {
		dirs = append(dirs, o.Dir+"/bodies/orphans/"+f)
	}
	for _, dir := range dirs {
		list, err := listBodies(o.FS, dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range list.files {
			found[f.id.String()] = true
		}
	}
	return found
}

func (st stored) checkExport(t *testing.T, o Options, what string, want stored) {
	t.Helper()
	to := t.TempDir()
	sum, err := exportFrom(o.FS, o.Dir, to, nil)
	if err != nil {
		t.Errorf("%s: export: %v", what, err)
		return
	}
	for id, body := range want {
		got, err := os.ReadFile(filepath.Join(to, id.String()+".eml"))
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: export of %s: %d of %d bytes, %v (%+v)", what, id, len(got), len(body), err, sum)
			return
		}
	}
}

// large returns the messages that have a file.
func (st stored) large(inline int64) stored {
	large := stored{}
	for id, body := range st {
		if int64(len(body)) > inline {
			large[id] = body
		}
	}
	return large
}

// killed returns the disk of a process that was killed.
func killed(mem *vfs.MemFS) *vfs.MemFS {
	return mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 2))})
}

// engineFiles lists the engine's files that match a pattern.
func engineFiles(t *testing.T, fsys vfs.FS, dir, pattern string) (paths []string) {
	t.Helper()
	names, err := fsys.List(dir + "/engine")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	for _, n := range names {
		if ok, _ := path.Match(pattern, n); ok {
			paths = append(paths, dir+"/engine/"+n)
		}
	}
	return paths
}
