package mail

import (
	"bytes"
	"encoding/binary"
)

// ContentScan finds 8-bit bytes in a message that is written to it in chunks of any size. It
// doesn't allocate. The zero ContentScan is ready to use.
//
// The header ends at the first empty line only. A message without an empty line is all header.
type ContentScan struct {
	found Content
	body  bool     // the header has ended
	line  linePart // position of the next byte in its header line
}

type linePart uint8

const (
	lineStart linePart = iota // at the start of a line
	lineCR                    // after a CR at the start of a line
	lineText                  // anywhere else
)

// Content returns what the scan has found so far.
func (s *ContentScan) Content() Content { return s.found | ContentKnown }

// Write reads the next bytes of the message. It never fails.
func (s *ContentScan) Write(p []byte) (int, error) {
	rest := p
	if !s.body {
		n := s.header(p)
		if !s.found.Has(ContentEightHeader) && hasEightBit(p[:n]) {
			s.found |= ContentEightHeader
		}
		rest = p[n:]
	}
	if !s.found.Has(ContentEightBody) && hasEightBit(rest) {
		s.found |= ContentEightBody
	}
	return len(p), nil
}

// header returns how many bytes of p belong to the header, including the empty line.
func (s *ContentScan) header(p []byte) int {
	for i := 0; i < len(p); {
		switch {
		case s.line == lineText:
			end := bytes.IndexByte(p[i:], '\n')
			if end < 0 {
				return len(p)
			}
			i += end + 1
			s.line = lineStart
			continue
		case p[i] == '\n':
			s.body = true
			return i + 1
		case p[i] == '\r' && s.line == lineStart:
			s.line = lineCR
		default:
			s.line = lineText
		}
		i++
	}
	return len(p)
}

// highBits are the bits that ASCII leaves clear, in each byte of a word.
const highBits = 0x8080808080808080

// hasEightBit reports whether p holds a byte outside ASCII. It checks 32 bytes at a time.
func hasEightBit(p []byte) bool {
	for len(p) >= 32 {
		if (binary.LittleEndian.Uint64(p)|binary.LittleEndian.Uint64(p[8:])|
			binary.LittleEndian.Uint64(p[16:])|binary.LittleEndian.Uint64(p[24:]))&highBits != 0 {
			return true
		}
		p = p[32:]
	}
	for len(p) >= 8 {
		if binary.LittleEndian.Uint64(p)&highBits != 0 {
			return true
		}
		p = p[8:]
	}
	for _, c := range p {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
