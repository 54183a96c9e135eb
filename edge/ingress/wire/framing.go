package wire

import "bytes"

// framing takes a message apart as it comes off the wire. It is pure: bytes go
// in, runs of the message come out. The zero value with a limit is ready.
//
// A line ends with CRLF and with nothing else (RFC 5321 section 2.3.8). In
// dotted form (DATA) one leading dot is taken away and the line "." ends the
// message (section 4.5.2); in counted form (BDAT) dots mean nothing and the
// caller knows the end.
type framing struct {
	maxLine int  // bytes in a line with its CRLF; 0: no limit
	dotted  bool // DATA, else BDAT
	partial int  // bytes of the current line that were passed on already
	lastCR  bool // the last byte passed on was a CR
}

// next looks at buf, the unread bytes, and returns the first run of it that
// belongs to the message: emit must be passed on, used is how much of buf it
// took with what was dropped. used == 0 asks for more bytes. done says that
// the end of a dotted message was read.
func (m *framing) next(buf []byte) (emit []byte, used int, done bool, err error) {
	skip := 0
	if m.dotted && m.partial == 0 && len(buf) > 0 && buf[0] == '.' {
		// Three bytes tell ".CRLF" from a stuffed dot.
		switch {
		case len(buf) >= 3 && buf[1] == '\r' && buf[2] == '\n':
			return nil, 3, true, nil
		case len(buf) == 1, len(buf) == 2 && buf[1] == '\r':
			return nil, 0, false, nil
		}
		skip = 1
	}
	n, err := m.run(buf[skip:])
	if err != nil {
		return nil, 0, false, err
	}
	return buf[skip : skip+n], skip + n, false, nil
}

// run is the longest prefix of buf that can be passed on as it stands: up to
// the next line that starts with a dot, or all of buf.
func (m *framing) run(buf []byte) (int, error) {
	pos := 0
	for pos < len(buf) {
		if m.dotted && pos > 0 && m.partial == 0 && buf[pos] == '.' {
			break
		}
		eol := bytes.IndexByte(buf[pos:], '\n')
		if eol < 0 {
			m.partial += len(buf) - pos
			pos = len(buf)
			break
		}
		end := pos + eol
		if !m.endsInCR(buf, pos, end) {
			return 0, ErrBareLF
		}
		if m.maxLine > 0 && m.partial+eol+1 > m.maxLine {
			return 0, ErrLongText
		}
		m.partial = 0
		pos = end + 1
	}
	if m.maxLine > 0 && m.partial > m.maxLine {
		return 0, ErrLongText
	}
	return pos, m.check(buf[:pos])
}

// endsInCR says whether a CR stands before the LF at end, in this buffer or at
// the end of the run before.
func (m *framing) endsInCR(buf []byte, start, end int) bool {
	if end > 0 {
		return end > start && buf[end-1] == '\r'
	}
	return m.lastCR
}

// check finds NULs and CRs that no LF follows in run, of which every LF is
// known to follow a CR. Where the numbers of both agree, no CR is bare.
func (m *framing) check(run []byte) error {
	if bytes.IndexByte(run, 0) >= 0 {
		return ErrNUL
	}
	if len(run) == 0 {
		return nil
	}
	open := 0
	if m.lastCR {
		open = 1
	}
	crs, lfs := bytes.Count(run, crByte)+open, bytes.Count(run, lfByte)
	m.lastCR = run[len(run)-1] == '\r'
	if m.lastCR {
		lfs++
	}
	if crs != lfs {
		return ErrBareCR
	}
	return nil
}

var crByte, lfByte, crlf = []byte{'\r'}, []byte{'\n'}, []byte{'\r', '\n'}

// bareLF returns where in buf, the bytes after those passed on, the first LF without its CR stands; -1:
// nowhere.
func (m *framing) bareLF(buf []byte) int {
	for pos := 0; ; {
		i := bytes.IndexByte(buf[pos:], '\n')
		switch end := pos + i; {
		case i < 0:
			return -1
		case end == 0 && !m.lastCR, end > 0 && buf[end-1] != '\r':
			return end
		default:
			pos = end + 1
		}
	}
}

// end is asked when a counted message is over: a CR may not stand last.
func (m *framing) end() error {
	if m.lastCR {
		return ErrBareCR
	}
	return nil
}
