package main

import "bytes"

// endScan finds the end of a message in the byte stream after DATA and counts its bytes before
// dot-stuffing. It looks for CR LF "." by index search only and keeps no byte.
// The zero value is ready for a message.
type endScan struct {
	blank   blankScan
	stuffed int // dots that stuffing put into the body
	inside  bool
}

// keepBack is how many bytes scan may leave over: an end that is not yet complete.
const keepBack = 4

// scan reads the next bytes of the stream. It returns how many of them it has used; the others have to
// be passed again, followed by more bytes. ended reports that the used bytes include the end dot, so
// that commands follow.
func (s *endScan) scan(p []byte) (used int, ended bool) {
	if !s.inside {
		// The line end before the first line is the DATA command's own.
		switch {
		case len(p) < 3:
			return 0, false
		case string(p[:3]) == ".\r\n":
			return 3, true
		case p[0] == '.':
			used = 1
		}
		s.inside = true
	}
	for {
		at := bytes.Index(p[used:], []byte("\r\n."))
		if at < 0 {
			return s.searchBlank(p, used, max(used, len(p)-keepBack)), false
		}
		at += used
		if len(p) < at+5 {
			return s.searchBlank(p, used, at), false
		}
		if p[at+3] == '\r' && p[at+4] == '\n' {
			s.searchBlank(p, used, at+2)
			return at + 5, true
		}
		used = s.searchBlank(p, used, at+3)
		if s.blank.found {
			s.stuffed++
		}
	}
}

// searchBlank passes p[from:to] to the search for the blank line.
func (s *endScan) searchBlank(p []byte, from, to int) int {
	s.blank.scan(p[from:to])
	return to
}

// content is how many bytes came after the header's blank line, before stuffing.
func (s *endScan) content() int { return s.blank.after - s.stuffed }

// blankScan finds the empty line between header and body in pieces of a message and counts what comes
// after it. The zero value is ready for a message.
type blankScan struct {
	found  bool
	after  int  // bytes after the blank line
	length int  // bytes of the line so far; 2 and more are the same
	cr     bool // the line so far is one CR
}

func (b *blankScan) scan(p []byte) {
	for !b.found && len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			b.cr = b.length == 0 && len(p) == 1 && p[0] == '\r'
			b.length += len(p)
			return
		}
		b.found = (b.length == 0 && end == 1 && p[0] == '\r') || (b.length == 1 && b.cr && end == 0)
		b.length, b.cr = 0, false
		p = p[end+1:]
	}
	b.after += len(p)
}
