package drain

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"anymx/edge/statefile"
)

// savedState is what a restart must know of a drain. It is on disk before a drain is acknowledged,
// until the node is back in service and the speaker has confirmed that.
type savedState struct {
	Reason string    `json:"reason,omitempty"` // for people
	Began  time.Time `json:"began"`
	// Drained says that all steps were taken: there is no traffic any more, and a restart changes
	// nothing about that.
	Drained bool `json:"drained,omitempty"`
	// Resumed says that the node is in service, but the speaker may still hold the command to
	// withdraw.
	Resumed bool `json:"resumed,omitempty"`
}

// maxFile bounds the file, in bytes; a reason is short.
const maxFile = 64 << 10

// file is where the state is saved: state_dir/drain.json.
type file struct{ statefile.File }

func fileIn(stateDir string) file {
	return file{statefile.File(filepath.Join(stateDir, "drain.json"))}
}

// read returns nil if the node is in service. An unreadable file is an error: the promised state
// is unknown.
func (f file) read() (*savedState, error) {
	text, err := f.Read(maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var s savedState
	if err == nil {
		if err = json.Unmarshal(text, &s); err != nil {
			err = fmt.Errorf("%s: %w", f, err)
		} else if s.Began.IsZero() {
			err = fmt.Errorf("%s: it does not say when the drain began", f)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("state of the drain: %w", err)
	}
	return &s, nil
}

// write returns when s is on stable storage, in place of what was there.
func (f file) write(s savedState) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = f.Write(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("state of the drain: %w", err)
	}
	return nil
}

// remove returns when the file is gone from stable storage. It need not exist.
func (f file) remove() error {
	if err := f.Remove(); err != nil {
		return fmt.Errorf("state of the drain: %w", err)
	}
	return nil
}
