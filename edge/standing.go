package edge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
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

// standingFile is where it is kept: state_dir/drain.json.
type standingFile string

func newStandingFile(stateDir string) standingFile {
	return standingFile(filepath.Join(stateDir, "drain.json"))
}

// read returns nil if the node is to be in service. What can't be understood is
// an error: nobody knows then what was promised.
func (f standingFile) read() (*standing, error) {
	text, err := os.ReadFile(string(f))
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
		err = f.replace(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("state of the drain: %w", err)
	}
	return nil
}

func (f standingFile) replace(text []byte) error {
	next := string(f) + ".new"
	file, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return errors.Join(err, os.Remove(next))
	}
	if err := os.Rename(next, string(f)); err != nil {
		return err
	}
	return f.syncDir()
}

// remove returns when it is gone from stable storage. It may not have been
// there.
func (f standingFile) remove() error {
	err := os.Remove(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // an earlier attempt may have failed behind this point
	}
	if err == nil {
		err = f.syncDir()
	}
	if err != nil {
		return fmt.Errorf("state of the drain: %w", err)
	}
	return nil
}

// syncDir makes the names in the directory durable.
func (f standingFile) syncDir() error {
	dir, err := os.Open(filepath.Dir(string(f)))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
