// Package secret reads keys and passwords from files.
//
// What happens to the data: a name becomes a path. The file is opened without blocking on a FIFO,
// and checked through its descriptor, so that the file that was checked is the one that is read.
// One newline at its end is cut off, and the rest is returned. No error contains a byte of it.
package secret

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"anymx/edge/statefile"
)

// Scheme is the prefix of the name of a systemd credential: "credential:wg.key" is the file wg.key
// in the unit's credentials directory.
const Scheme = "credential:"

// directory is the environment variable with the path of the credentials directory.
const directory = "CREDENTIALS_DIRECTORY"

// others are the permission bits of users other than owner and group, which must not be set.
const others = 0o007

// Read returns the content of the named file, of at most `most` bytes, without one newline ("\n" or
// "\r\n") at its end. A name is an absolute path, in which symbolic links are followed, or
// "credential:NAME".
//
// A file is refused if users other than its owner and group may read, write or execute it, if it is
// not a regular file, or if it is empty or too large. The error for a missing file wraps
// fs.ErrNotExist.
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

// locate turns a name into a path. credentials is the credentials directory.
func locate(name, credentials string) (string, error) {
	file, ok := strings.CutPrefix(name, Scheme)
	switch {
	case !ok && filepath.IsAbs(name):
		return name, nil
	case !ok:
		return "", fmt.Errorf("must be an absolute path or %sNAME", Scheme)
	case file == "" || file == "." || file == ".." || strings.ContainsRune(file, '/'):
		return "", errors.New("the name of a credential must be a single file name without a slash")
	case credentials == "":
		return "", fmt.Errorf("%s is not set: the unit has no credentials, see LoadCredential= in systemd.exec(5)", directory)
	case !filepath.IsAbs(credentials):
		return "", fmt.Errorf("%s is not an absolute path", directory)
	}
	return filepath.Join(credentials, file), nil
}

// read opens, checks and reads one file.
func read(path string, most int) ([]byte, error) {
	f, info, err := statefile.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if mode := info.Mode().Perm(); mode&others != 0 {
		return nil, fmt.Errorf("%s is accessible to other users (mode %04o), run: chmod o= %s", path, mode, path)
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
		return nil, fmt.Errorf("%s is larger than %d bytes", path, most)
	}
	return text, nil
}
