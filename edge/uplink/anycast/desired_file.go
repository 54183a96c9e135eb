package anycast

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"anymx/edge/operate/api"
	"anymx/edge/statefile"
)

// desiredFile is the kept desired state on disk. Without a file it is to announce.
type desiredFile struct{ dir string }

// record is the content of the file.
type record struct {
	Version int              `json:"version"` // 1
	Desired api.DesiredState `json:"order"`
	At      time.Time        `json:"at"`
}

// maxRecord bounds the file, in bytes; a reason has at most maxReason.
const maxRecord = 1 << 20

// openDesiredFile opens the file in dir, which can be used despite an error.
func openDesiredFile(dir string) (desiredFile, error) {
	f := desiredFile{dir}
	return f, f.open()
}

// open makes the file's directory. It should exist before the first drain: one that can't be kept
// would come as a surprise.
func (f desiredFile) open() error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("directory of the desired state: %w; a drain ends with this process", err)
	}
	return nil
}

func (f desiredFile) path() string { return filepath.Join(f.dir, "order.json") }

func (f desiredFile) file() statefile.File { return statefile.File(f.path()) }

// load reads the kept desired state. If a file exists and is unreadable, the state is to withdraw:
// its content was not to announce, since that has no file. The error then says what is wrong.
func (f desiredFile) load() (desired, error) {
	text, err := f.file().Read(maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return desired{DesiredState: api.DesiredState{Routes: api.Announced, Keep: true}}, nil
	}
	var r record
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err == nil && r.Version != 1 {
		err = fmt.Errorf("unknown version %d", r.Version)
	}
	if err == nil {
		err = checkRoutes(r.Desired.Routes)
	}
	if err != nil {
		err = fmt.Errorf("the desired state is unreadable: %s: %w", f.path(), err)
		reason := err.Error() + "; nothing is announced until the next `anymx drain` or `anymx resume`"
		return desired{DesiredState: api.DesiredState{Routes: api.Withdrawn, Reason: reason, Keep: true}}, err
	}
	r.Desired.Keep = true
	return desired{DesiredState: r.Desired, at: r.At}, nil
}

// save replaces the content with s: after a crash it is either the old one or the new one. When it
// returns nil, that is on stable storage.
func (f desiredFile) save(s desired) error {
	var err error
	if s.Routes == api.Announced {
		err = f.file().Remove()
	} else {
		var text []byte
		if text, err = json.MarshalIndent(record{Version: 1, Desired: s.DesiredState, At: s.at}, "", "\t"); err == nil {
			err = f.file().Write(append(text, '\n'))
		}
	}
	if err != nil {
		return fmt.Errorf("storing the desired state: %w", err)
	}
	return nil
}

// checkRoutes refuses an unknown value.
func checkRoutes(r api.Routes) error {
	switch r {
	case api.Announced, api.Graceful, api.Withdrawn:
		return nil
	}
	return fmt.Errorf("routes must be %q, %q or %q, not %q", api.Announced, api.Graceful, api.Withdrawn, r)
}
