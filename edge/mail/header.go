package mail

import "bytes"

// Limits of a Header that has none of its own.
const (
	DefaultMaxHeader = 256 << 10 // bytes
	DefaultMaxFields = 2000
)

// Header is an index of the header of a message that is written to it in chunks of any size: the names
// of its fields and where they stand, without their values. Reset makes it ready for another message and
// keeps its memory. The zero Header is ready to use.
//
// The header ends at the first empty line, or at the first line that can't be a field. Everything
// after it is body, whatever it looks like.
type Header struct {
	// MaxSize and MaxFields bound what is indexed; 0: DefaultMaxHeader and DefaultMaxFields.
	MaxSize   int64
	MaxFields int

	// Fields are in the order of the message.
	Fields []Field
	// Ended is set when the whole header was read. A message that ends before that is all header.
	Ended bool
	// NoBlank is set when the header ended without the empty line that RFC 5322 section 2.1
	// requires.
	NoBlank bool
	// TooLarge is set when a limit was passed. What is above it is not indexed, and Ended stays false.
	TooLarge bool
	// Size is the length of the header so far in bytes, including the empty line.
	Size int64

	names []byte // of all fields, one after the other, in lower case
	line  int64  // where the current line starts
	state scanState
	named int // where the name of the field that is read starts in names
}

// Field is where a field of a header stands, in bytes from the start of the message.
type Field struct {
	Start int64 // of its name
	Value int64 // after its colon
	End   int64 // after the line end of its last line
	name  uint32
	size  uint16
}

// fieldSize is the memory of a Field in bytes.
const fieldSize = 32

// maxFieldName is how many bytes of a field's name are kept. No name that anybody asks for is longer.
const maxFieldName = 255

type scanState uint8

const (
	atLine  scanState = iota // at the start of a line
	inName                   // in a field name
	inSpace                  // between a name and its colon (RFC 5322 section 4.5)
	inValue                  // anywhere else, up to the end of the line
	inCR                     // at a line that starts with CR
)

// Reset forgets the message, and keeps limits and memory.
func (h *Header) Reset() {
	*h = Header{MaxSize: h.MaxSize, MaxFields: h.MaxFields, Fields: h.Fields[:0], names: h.names[:0]}
}

// Memory returns how many bytes of memory the index takes.
func (h *Header) Memory() int64 { return int64(cap(h.Fields))*fieldSize + int64(cap(h.names)) }

// Name returns the name of Fields[i] in lower case. It is valid until Reset.
func (h *Header) Name(i int) []byte {
	f := h.Fields[i]
	return h.names[f.name : f.name+uint32(f.size)]
}

// Count returns how many fields have a name, which is in lower case.
func (h *Header) Count(name string) int {
	n := 0
	for i := range h.Fields {
		if string(h.Name(i)) == name {
			n++
		}
	}
	return n
}

// Starts reports whether the message starts with a field or an empty line. If it does not, its first
// line would become part of whatever field is put in front of it.
func (h *Header) Starts() bool { return len(h.Fields) > 0 || h.Ended && !h.NoBlank }

// Write reads the next bytes of the message. It never fails.
func (h *Header) Write(p []byte) (int, error) {
	if h.Ended || h.TooLarge {
		return len(p), nil
	}
	n := h.scan(p)
	h.Size += int64(n)
	if h.NoBlank { // the line that ended the header is not part of it
		h.Size = h.line
	}
	if last := len(h.Fields) - 1; last >= 0 {
		h.Fields[last].End = h.endOfLast()
	}
	h.TooLarge = h.TooLarge || h.Size > orMost(h.MaxSize, DefaultMaxHeader)
	return len(p), nil
}

// endOfLast returns where the last field ends, as far as it has been read.
func (h *Header) endOfLast() int64 {
	switch {
	case h.Ended, h.state == inName, h.state == inSpace, h.state == inCR:
		return h.line
	}
	return h.Size
}

func orMost[T int | int64](n, otherwise T) T {
	if n <= 0 {
		return otherwise
	}
	return n
}

// scan returns how many bytes of p belong to the header.
func (h *Header) scan(p []byte) int {
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
			if more := h.beginLine(c, h.Size+int64(i)); !more {
				return i + 1 // the empty line of a message with bare LFs
			}
			if h.state == inCR {
				i++
				continue
			}
		}
		switch {
		case h.state == inValue: // a folded line
		case c == ':' && len(h.names) > h.named:
			if !h.field(h.Size + int64(i)) {
				return i
			}
		case c == ' ' || c == '\t':
			h.state = inSpace
		case c <= ' ' || c >= 0x7f || c == ':' || h.state == inSpace:
			h.end(true)
			return i
		case len(h.names)-h.named < maxFieldName:
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			h.names = append(h.names, c)
		}
		i++
	}
	return len(p)
}

// beginLine looks at the first byte of the line at offset. It reports whether the header goes on.
func (h *Header) beginLine(c byte, offset int64) bool {
	h.line = offset
	switch {
	case c == '\r':
		h.state = inCR
	case c == '\n':
		h.end(false)
		return false
	case (c == ' ' || c == '\t') && offset > 0:
		h.state = inValue
	default:
		h.closeField()
		h.state, h.named = inName, len(h.names)
	}
	return true
}

// closeField sets the end of the field before the line that begins.
func (h *Header) closeField() {
	if n := len(h.Fields); n > 0 {
		h.Fields[n-1].End = h.line
	}
}

func (h *Header) end(noBlank bool) { h.Ended, h.NoBlank = true, noBlank }

// field adds the field whose name has just been read, with its colon at offset. It reports whether there
// was room for it.
func (h *Header) field(offset int64) bool {
	if len(h.Fields) >= orMost(h.MaxFields, DefaultMaxFields) {
		h.TooLarge = true
		return false
	}
	h.Fields = append(h.Fields, Field{
		Start: h.line, Value: offset + 1, End: offset + 1, name: uint32(h.named), size: uint16(len(h.names) - h.named),
	})
	h.state = inValue
	return true
}
