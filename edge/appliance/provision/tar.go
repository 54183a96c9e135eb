package provision

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxMembers bounds how many members of a tar are read, of any kind.
const maxMembers = 2 * maxFiles

// archive is a folder in a tar: its regular files, and why other members are not.
type archive struct {
	files  map[string][]byte
	faults map[string]error
}

// readTar reads a tar that may be compressed with gzip. Members that are not regular files are
// ignored unless requested; a name that leads out of the tar is an error.
func readTar(data []byte) (*archive, error) {
	var r io.Reader = bytes.NewReader(data)
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w", err)
		}
		r = z
	}
	// One byte more than a bundle may have, in memory, is enough to detect it.
	limited := &io.LimitedReader{R: r, N: maxTotal + 1024*maxMembers}
	a := &archive{files: map[string][]byte{}, faults: map[string]error{}}
	total := int64(0)
	t := tar.NewReader(limited)
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return a, nil
		}
		if err == nil && n == maxMembers {
			err = errTooMany
		}
		if err == nil && limited.N <= 0 {
			err = errTooLarge
		}
		if err != nil {
			return nil, fmt.Errorf("tar: %w", err)
		}
		name, ok := memberName(h.Name)
		switch {
		case !ok:
			return nil, fmt.Errorf("tar: the member %q leads out of the bundle", h.Name)
		case name == "" || h.Typeflag == tar.TypeDir || h.Typeflag == tar.TypeXGlobalHeader:
			continue
		case h.Typeflag != tar.TypeReg:
			a.faults[name] = errors.New("is not a regular file")
			continue
		}
		if total += h.Size; h.Size < 0 || total > maxTotal {
			return nil, fmt.Errorf("tar: %w", errTooLarge)
		}
		if a.files[name], err = io.ReadAll(t); err != nil {
			return nil, fmt.Errorf("tar: %s: %w", name, err)
		}
		delete(a.faults, name)
	}
}

// memberName returns the path of a member below the top: "./a/b" is "a/b", and the top is "". Not
// ok: it leads out.
func memberName(name string) (string, bool) {
	if strings.HasPrefix(name, "/") || slices.Contains(strings.Split(name, "/"), "..") || strings.ContainsRune(name, 0) {
		return "", false
	}
	name = path.Clean(name)
	if name == "." {
		name = ""
	}
	return name, true
}

// below returns a folder of a as an archive.
func (a *archive) below(dir string) *archive {
	b := &archive{files: map[string][]byte{}, faults: map[string]error{}}
	for name, data := range a.files {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			b.files[rest] = data
		}
	}
	for name, err := range a.faults {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			b.faults[rest] = err
		}
	}
	return b
}

func (a *archive) read(name string, most int64) ([]byte, error) {
	if err := a.faults[name]; err != nil {
		return nil, err
	}
	data, ok := a.files[name]
	switch {
	case !ok:
		return nil, fs.ErrNotExist
	case int64(len(data)) > most:
		return nil, tooLarge(most)
	}
	return data, nil
}

func (a *archive) list(dir string, most int) ([]string, error) {
	seen := map[string]bool{}
	add := func(name string) {
		if dir != "" {
			var ok bool
			if name, ok = strings.CutPrefix(name, dir+"/"); !ok {
				return
			}
		}
		first, _, more := strings.Cut(name, "/")
		if more {
			first += "/"
		}
		seen[first] = true
	}
	for name := range a.files {
		add(name)
	}
	for name := range a.faults {
		add(name)
	}
	names := sorted(seen)
	if len(names) > most {
		return names[:most], fmt.Errorf("%w: at most %d", errTooMany, most)
	}
	return names, nil
}
