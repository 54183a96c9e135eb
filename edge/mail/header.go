package mail

import "bytes"

// HeaderScan reads the header of a message that is written to it in chunks of any size. It doesn't
// allocate. The zero HeaderScan is ready to use.
//
// The header ends at the first empty line, or at the first line that can't be a field. Everything
// after it is body, whatever it looks like.
type HeaderScan struct {
	// Received counts the trace fields (RFC 5321 section 6.3: loops).
	Received int
	// Which fields are present, for policy.
	HasDate, HasFrom, HasMessageID bool
	// Ended is set when the whole header was read. A message that ends before that is all header.
	Ended bool
	// NoBlank is set when the header ended without the empty line that RFC 5322 section 2.1
	// requires.
	NoBlank bool
	// Size is the length of the header so far in bytes, including the empty line.
	Size int64
	// Truncated is set when Kept is not the whole header.
	Truncated bool

	keep  []byte // the header so far; never grows beyond its capacity
	line  int64  // where the current line starts
	state scanState
	name  [maxFieldName]byte
	n     int // length of the name; bytes that don't fit are only counted
}

// maxFieldName is the length of the longest field name that the scan looks for.
const maxFieldName = 12

type scanState uint8

const (
	atLine  scanState = iota // at the start of a line
	inName                   // in a field name
	inSpace                  // between a name and its colon (RFC 5322 section 4.5)
	inValue                  // anywhere else, up to the end of the line
	inCR                     // at a line that starts with CR
)

// Keep makes the scan copy the raw header into buf[:0], up to its capacity.
// Call it before the first Write.
func (h *HeaderScan) Keep(buf []byte) { h.keep = buf[:0] }

// Kept returns the copy of the header, including the empty line.
func (h *HeaderScan) Kept() []byte { return h.keep }

// Write reads the next bytes of the message. It never fails.
func (h *HeaderScan) Write(p []byte) (int, error) {
	if h.Ended {
		return len(p), nil
	}
	n := h.scan(p)
	h.Size += int64(n)
	if h.keep != nil {
		room := cap(h.keep) - len(h.keep)
		h.Truncated = h.Truncated || n > room
		h.keep = append(h.keep, p[:min(n, room)]...)
	}
	if h.NoBlank { // the line that ended the header is not part of it
		h.Size = h.line
		h.keep = h.keep[:min(int64(len(h.keep)), h.line)]
	}
	return len(p), nil
}

// scan returns how many bytes of p belong to the header.
func (h *HeaderScan) scan(p []byte) int {
	for i := 0; i < len(p); {
		c := p[i]
		switch h.state {
		case inValue:
			end := bytes.IndexByte(p[i:], '\n')
			if end < 0 {
				return len(p)
			}
			i += end + 1
			h.state = atLine
			continue
		case inCR:
			// Ingress refuses a bare CR. If one got here, the line is not a field.
			h.end(c != '\n')
			if c == '\n' {
				i++
			}
			return i
		case atLine:
			h.line = h.Size + int64(i)
			switch {
			case c == '\r':
				h.state = inCR
				i++
				continue
			case c == '\n':
				h.end(false)
				return i + 1
			case (c == ' ' || c == '\t') && h.line > 0:
				h.state = inValue // a folded line
				continue
			}
			h.state, h.n = inName, 0
		}
		switch {
		case c == ':' && h.n > 0:
			h.field()
			h.state = inValue
		case c == ' ' || c == '\t':
			h.state = inSpace
		case c <= ' ' || c >= 0x7f || c == ':' || h.state == inSpace:
			h.end(true)
			return i
		default:
			if h.n < maxFieldName {
				h.name[h.n] = c
			}
			h.n++
		}
		i++
	}
	return len(p)
}

func (h *HeaderScan) end(noBlank bool) { h.Ended, h.NoBlank = true, noBlank }

// field records the field whose name has just been read.
func (h *HeaderScan) field() {
	switch h.n {
	case len("date"):
		h.HasDate = h.HasDate || h.isName("date")
		h.HasFrom = h.HasFrom || h.isName("from")
	case len("received"):
		if h.isName("received") {
			h.Received++
		}
	case len("message-id"):
		h.HasMessageID = h.HasMessageID || h.isName("message-id")
	}
}

func (h *HeaderScan) isName(lower string) bool {
	for i := 0; i < len(lower); i++ {
		c := h.name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
