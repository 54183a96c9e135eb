package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"anymx/edge/mail"
)

// Salvaged is one message in an export.
type Salvaged struct {
	ID       mail.ID        `json:"id"`
	Problem  string         `json:"problem,omitempty"` // "": envelope and body are complete
	Envelope *mail.Envelope `json:"envelope,omitempty"`
	State    *State         `json:"state,omitempty"` // nil: no attempt after the first was made
	Legs     []Leg          `json:"legs,omitempty"`  // what is left, if it has several destinations; State is nil then
	Draft    bool           `json:"draft,omitempty"` // cut off by a crash: it was not acknowledged
	Bytes    int64          `json:"bytes"`           // size of the stored body that was found
}

// Exported counts what Export has written.
type Exported struct {
	Messages int64 // with envelope and body
	Orphans  int64 // bodies without envelope
	Damaged  int64 // messages whose envelope or body is damaged
	Bytes    int64
	Problems []string // what could not be read at all
}

// Export reads the store in dir, which no program may have open, and writes what is readable to the folder to: for each message ID.eml, which is what would be delivered, and ID.json, which is a Salvaged. It creates the folder if necessary, and overwrites nothing. If to is "" it only counts. each, if not nil, is called after each message.
func Export(dir, to string, each func(Salvaged)) (Exported, error) {
	return exportFrom(vfs.Default, dir, to, each)
}

func exportFrom(fsys vfs.FS, dir, to string, each func(Salvaged)) (sum Exported, err error) {
	if _, err := fsys.Stat(dir); err != nil {
		return sum, fmt.Errorf("spool: %w", err)
	}
	release, err := lockForReading(fsys, dir)
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, release()) }()
	s, err := openSalvage(fsys, dir)
	if err != nil {
		return sum, fmt.Errorf("spool %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if to != "" {
		if err := os.MkdirAll(to, 0o700); err != nil {
			return sum, err
		}
	}
	if err := s.exportAll(to, &sum, each); err != nil {
		return sum, err
	}
	sum.Problems = s.problems
	if to == "" {
		return sum, nil
	}
	return sum, syncAll(to)
}

// exportAll writes all messages and orphans to a folder, and counts them.
func (s *salvage) exportAll(to string, sum *Exported, each func(Salvaged)) error {
	for _, id := range s.ids() {
		m, body, selfTest := s.message(id)
		if selfTest {
			continue
		}
		if err := sum.export(&m, body, to, each); err != nil {
			return err
		}
	}
	for id, orphan := range s.orphans {
		if _, gone := s.get(keyGone, id); gone || !orphan {
			continue
		}
		m, body := s.orphan(id)
		if err := sum.export(&m, body, to, each); err != nil {
			return err
		}
	}
	return nil
}

// export writes one message to a folder, and counts it.
func (e *Exported) export(m *Salvaged, body func() (io.ReadCloser, error), to string, each func(Salvaged)) error {
	if err := m.write(to, body); err != nil {
		return fmt.Errorf("message %s: %w", m.ID, err)
	}
	switch {
	case m.Problem != "":
		e.Damaged++
	case m.Envelope == nil:
		e.Orphans++
	default:
		e.Messages++
	}
	e.Bytes += m.Bytes
	if each != nil {
		each(*m)
	}
	return nil
}

// write writes the message's two files to a folder. If to is "" it writes nothing.
func (m *Salvaged) write(to string, body func() (io.ReadCloser, error)) error {
	if to == "" {
		return nil
	}
	if body != nil {
		r, err := body()
		if err != nil {
			return err
		}
		err = writeNew(filepath.Join(to, m.ID.String()+".eml"), func(w io.Writer) error { _, err := io.Copy(w, r); return err })
		if err = errors.Join(err, r.Close()); err != nil {
			return err
		}
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeNew(filepath.Join(to, m.ID.String()+".json"), func(w io.Writer) error { _, err := w.Write(append(b, '\n')); return err })
}

// writeNew writes a new file that only its owner can read.
func writeNew(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// syncAll syncs the whole file system of a folder.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
