// Package secret reads keys and passwords from files.
//
// What happens to one: a name is turned into a path; the file is opened, in a
// way that never waits for somebody to write to it, and looked at through the
// descriptor, so that what was checked is what is read; one newline at its end
// is cut off; and what is left goes to the caller alone. No error holds a byte
// of it.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Scheme stands before the name of a systemd credential: "credential:wg.key" is
// the file wg.key in the directory that systemd made for the unit.
const Scheme = "credential:"

// directory is the environment variable that systemd names the directory in.
const directory = "CREDENTIALS_DIRECTORY"

// others are the permission bits that nobody but owner and group may have.
const others = 0o007

// Read returns what the named file holds, at most `most` octets after the
// newline at its end, "\n" or "\r\n", is cut off. A name is an absolute path,
// whose symbolic links are followed, or "credential:NAME".
//
// Refused is a file that others than its owner and group may read, write or
// execute; what is no regular file; and what is empty or too large. A file that
// is not there is fs.ErrNotExist.
func Read(name string, most int) ([]byte, error) {
	path, err := locate(name, os.Getenv(directory))
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	text, err := read(path, most)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", name, err)
	}
	return text, nil
}

// Path returns the path of the named file.
func Path(name string) (string, error) { return locate(name, os.Getenv(directory)) }

// locate turns a name into a path; credentials is the directory of those.
func locate(name, credentials string) (string, error) {
	file, ok := strings.CutPrefix(name, Scheme)
	switch {
	case !ok && filepath.IsAbs(name):
		return name, nil
	case !ok:
		return "", fmt.Errorf("neither an absolute path nor %sNAME", Scheme)
	case file == "" || file == "." || file == ".." || strings.ContainsRune(file, '/'):
		return "", errors.New("the name of a credential is one file name, without a slash")
	case credentials == "":
		return "", fmt.Errorf("%s is not set: the unit has no credentials (LoadCredential= in systemd.exec)", directory)
	case !filepath.IsAbs(credentials):
		return "", fmt.Errorf("%s is not an absolute path", directory)
	}
	return filepath.Join(credentials, file), nil
}

// read opens, checks and reads one file.
func read(path string, most int) ([]byte, error) {
	// Without O_NONBLOCK the open of a FIFO waits until somebody writes to it.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&others != 0 {
		return nil, fmt.Errorf("%s can be used by others (mode %04o): chmod o= %s", path, mode, path)
	}

	const newline = 2 // "\r\n"
	text, err := io.ReadAll(io.LimitReader(f, int64(most)+newline+1))
	if err != nil {
		return nil, err
	}
	if line, ok := bytes.CutSuffix(text, []byte("\n")); ok {
		text = bytes.TrimSuffix(line, []byte("\r"))
	}
	switch {
	case len(text) == 0:
		return nil, fmt.Errorf("%s is empty", path)
	case len(text) > most:
		return nil, fmt.Errorf("%s holds more than %d octets", path, most)
	}
	return text, nil
}
