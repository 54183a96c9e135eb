package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"anymx/edge/statefile"
)

// standing is what a restart must know of a drain. It is on disk from before
// the drain is promised until the node is back in service, and the speaker has
// heard of that.
type standing struct {
	Reason string    `json:"reason,omitempty"` // for people
	Began  time.Time `json:"began"`
	// Drained says that the steps were walked to their end: there is no traffic
	// any more, and a restart changes nothing about that.
	Drained bool `json:"drained,omitempty"`
	// Resumed says that the node is in service, but the speaker may still have
	// the order to withdraw.
	Resumed bool `json:"resumed,omitempty"`
}

// maxStanding bounds the file, in octets; a reason is short.
const maxStanding = 64 << 10

// standingFile is where it is kept: state_dir/drain.json.
type standingFile struct{ statefile.File }

func newStandingFile(stateDir string) standingFile {
	return standingFile{statefile.File(filepath.Join(stateDir, "drain.json"))}
}

// read returns nil if the node is to be in service. What can't be understood is
// an error: nobody knows then what was promised.
func (f standingFile) read() (*standing, error) {
	text, err := f.Read(maxStanding)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var s standing
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
func (f standingFile) write(s standing) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = f.Write(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("state of the drain: %w", err)
	}
	return nil
}

// remove returns when it is gone from stable storage. It may not have been
// there.
func (f standingFile) remove() error {
	if err := f.Remove(); err != nil {
		return fmt.Errorf("state of the drain: %w", err)
	}
	return nil
}
