package provision

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"anymx/edge/config"
)

// directory is a folder on a file system. Names can't lead out of it: the kernel resolves them
// beneath it, through no link and no other mount.
type directory struct{ fd int }

// openDirectory opens a directory of this machine, which may be a link. The error wraps
// fs.ErrNotExist if there is none.
func openDirectory(path string) (*directory, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // O_PATH might not mount the ESP
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &directory{fd}, nil
}

func (d *directory) close() { unix.Close(d.fd) }

// open opens name below d.
func (d *directory) open(name string, flags uint64) (*os.File, error) {
	if flags&unix.O_PATH == 0 {
		flags |= unix.O_NONBLOCK | unix.O_NOCTTY // never wait for a FIFO's other end
	}
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	}
	if name == "" {
		name = "."
	}
	for range 8 { // EAGAIN: something was renamed meanwhile
		fd, err := unix.Openat2(d.fd, name, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), name), nil
		case errors.Is(err, unix.ELOOP):
			return nil, errors.New("is reached through a symbolic link, which is not followed")
		case errors.Is(err, unix.EXDEV):
			return nil, errors.New("is on another file system")
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return nil, err
		}
	}
	return nil, unix.EAGAIN
}

// sub opens a folder below d. The error wraps fs.ErrNotExist if there is none.
func (d *directory) sub(name string) (*directory, error) {
	f, err := d.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &directory{fd}, nil
}

func (d *directory) read(name string, most int64) ([]byte, error) {
	f, err := d.open(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Size() > most:
		return nil, tooLarge(most)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = tooLarge(most)
	}
	return data, err
}

func tooLarge(most int64) error {
	return fmt.Errorf("%w: at most %s", errTooLarge, config.Size(most))
}

func (d *directory) list(name string, most int) ([]string, error) {
	f, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(most + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		n := e.Name()
		if e.IsDir() {
			n += "/"
		}
		names = append(names, n)
	}
	slices.Sort(names)
	if len(names) > most {
		return names[:most], fmt.Errorf("%w: at most %d", errTooMany, most)
	}
	return names, nil
}

// ReadBundle reads the bundle at path, on the machine of an operator: a folder, or anymx.toml
// alone, whatever its name.
func ReadBundle(path string) (Bundle, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Bundle{}, err
	}
	dir := path
	if !info.IsDir() {
		dir = filepath.Dir(path)
	}
	d, err := openDirectory(dir)
	if err != nil {
		return Bundle{}, err
	}
	defer d.close()
	if !info.IsDir() {
		text, err := d.read(filepath.Base(path), maxConfig)
		if err != nil {
			return Bundle{}, fmt.Errorf("%s: %w", path, err)
		}
		return Bundle{Files: map[string][]byte{configFile: text}}, nil
	}
	t, err := collect(d)
	if err != nil {
		return Bundle{}, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}
