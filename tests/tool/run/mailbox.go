package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// store is core's directory of Maildirs, DIR/<domain>/<local part>/new, read as a mail reader does.
type store struct {
	dir  string
	seen map[string]bool // files that look has returned
}

// look returns the message files that are new since the last call, in the order of their paths.
func (s *store) look() ([]string, error) {
	if s.seen == nil {
		s.seen = map[string]bool{}
	}
	boxes, err := filepath.Glob(filepath.Join(s.dir, "*", "*", "new"))
	if err != nil {
		return nil, err
	}
	var fresh []string
	for _, box := range boxes {
		entries, err := os.ReadDir(box)
		if err != nil {
			return nil, fmt.Errorf("core's mail: %w", err)
		}
		for _, entry := range entries {
			name := filepath.Join(box, entry.Name())
			if !s.seen[name] {
				s.seen[name] = true
				fresh = append(fresh, name)
			}
		}
	}
	return fresh, nil
}

// count returns the number of stored messages.
func (s *store) count() (int, error) {
	if _, err := s.look(); err != nil {
		return 0, err
	}
	return len(s.seen), nil
}

// errDiffers is the error for a message that arrived changed.
var errDiffers = errors.New("the stored message differs from what was sent")

// arrive waits for the message with the spool id and returns its file. The file must hold the trace
// fields that edge and core added (RFC 5321 section 4.4), one of which names the id and the protocol
// of the session, and then, byte for byte, what was sent.
func (s *store) arrive(ctx context.Context, id string, m message) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		fresh, err := s.look()
		if err != nil {
			return "", err
		}
		for _, name := range fresh {
			switch found, err := matches(name, id, m); {
			case err != nil:
				return name, err
			case found:
				return name, nil
			}
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("message %s did not arrive in core within 20 s: %w", id, ctx.Err())
		case <-tick.C:
		}
	}
}

// matches reports whether the file holds the message m with the spool id. It returns an error if it
// does but the message differs from what was sent.
func matches(name, id string, m message) (bool, error) {
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a mail reader has moved it
	}
	if err != nil {
		return false, err
	}
	text = unix(text) // core may store LF line ends
	head, _, _ := bytes.Cut(text, []byte("\n\n"))
	if !bytes.Contains(head, []byte(id)) {
		return false, nil
	}
	trace, found := bytes.CutSuffix(text, unix(m.data))
	switch {
	case !found:
		return false, fmt.Errorf("%s: %w", name, errDiffers)
	case bytes.Contains(trace, []byte("\n\n")):
		return false, fmt.Errorf("%s: there is more than trace fields before the message: %w", name, errDiffers)
	}
	for _, protocol := range m.protocols {
		if bytes.Contains(trace, fmt.Appendf(nil, "with %s id %s", protocol, id)) {
			return true, nil
		}
	}
	return false, fmt.Errorf("%s: no trace field has id %s with one of %q: %w", name, id, m.protocols, errDiffers)
}

func unix(text []byte) []byte { return bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")) }

// subject returns the Subject of a message file, "" if there is none.
func subject(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	m, err := mail.ReadMessage(io.LimitReader(f, 1<<20))
	if err != nil {
		return ""
	}
	// A stranger's message must not send control sequences to the terminal.
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, m.Header.Get("Subject"))
}
