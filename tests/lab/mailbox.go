package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Attempt is one attempt to send a message to a node. A client that gets no reply makes another
// attempt with the same message.
type Attempt struct{ Message, Number int }

// mark returns the line that identifies a message; it is also the last line.
func (a Attempt) mark() string { return fmt.Sprintf("message %d attempt %d", a.Message, a.Number) }

// content returns a message of some size with the mark at its beginning and end.
func (a Attempt) content(size int) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: sender@example.com\r\nSubject: %s\r\n\r\n", a.mark())
	for b.Len() < size {
		fmt.Fprintf(&b, "line at %06d of %s, which says nothing else\r\n", b.Len(), a.mark())
	}
	fmt.Fprintf(&b, "end of %s\r\n", a.mark())
	return b.Bytes()
}

// ReadMailbox reads a Maildir and counts each attempt. An incomplete message is an error; a missing
// mailbox is empty.
func ReadMailbox(dir string) (map[Attempt]int, error) {
	all := make(map[Attempt]int)
	files, err := os.ReadDir(filepath.Join(dir, "new"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(dir, "new", file.Name()))
		if err != nil {
			return nil, err
		}
		a, err := whole(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file.Name(), err)
		}
		all[a]++
	}
	return all, nil
}

// whole returns which message it is, or an error if it is incomplete.
func whole(text []byte) (a Attempt, err error) {
	at := bytes.Index(text, []byte("Subject: message "))
	if at < 0 {
		return a, fmt.Errorf("no subject in %.200q", text)
	}
	subject, _, _ := bytes.Cut(text[at:], []byte("\n"))
	if _, err := fmt.Sscanf(string(subject), "Subject: message %d attempt %d", &a.Message, &a.Number); err != nil {
		return a, fmt.Errorf("subject %q: %w", subject, err)
	}
	if !bytes.HasSuffix(bytes.TrimRight(text, "\r\n"), []byte("end of "+a.mark())) {
		return a, fmt.Errorf("%s is torn: %d bytes", a.mark(), len(text))
	}
	return a, nil
}
