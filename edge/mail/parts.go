package mail

import (
	"bytes"
	"errors"
	"fmt"
)

// This file is about what a message is made of: front + body - cuts. The body is what the client
// sent, byte by byte, and is stored once. Envelope.Front is ours and goes in front of it,
// Envelope.Cuts are the ranges of the body that are left out, both at delivery.

// Limits of what an Envelope says about its message. CheckParts enforces them.
const (
	MaxFront = 64 << 10 // bytes of Front
	MaxCuts  = 1000     // spans in Cuts
	MaxTags  = 64       // words in Tags
	MaxTag   = 128      // bytes of a tag, and of Route
)

// Span is the range of a body from byte Start up to, and without, byte End. The first byte is 0.
type Span struct{ Start, End int64 }

// SpanBytes returns how many bytes the spans hold.
func SpanBytes(spans []Span) (n int64) {
	for _, s := range spans {
		n += s.End - s.Start
	}
	return n
}

// BodySize returns the size in bytes of the stored body: what is delivered, without Front and with
// what Cuts leaves out.
func (env *Envelope) BodySize() int64 {
	return env.Size - int64(len(env.Front)) + SpanBytes(env.Cuts)
}

// SetSize sets Size for a stored body of that many bytes.
func (env *Envelope) SetSize(body int64) {
	env.Size = body + int64(len(env.Front)) - SpanBytes(env.Cuts)
}

// CheckParts returns what is wrong with Front, Cuts, Tags or Route for a stored body of that many
// bytes, or nil.
func (env *Envelope) CheckParts(body int64) error {
	if err := checkFront(env.Front); err != nil {
		return fmt.Errorf("front: %w", err)
	}
	if len(env.Cuts) > MaxCuts {
		return fmt.Errorf("%d cuts, the limit is %d", len(env.Cuts), MaxCuts)
	}
	var last int64
	for _, s := range env.Cuts {
		if s.Start < last || s.End <= s.Start || s.End > body {
			return fmt.Errorf("cut of bytes %d to %d, after %d, in a body of %d", s.Start, s.End, last, body)
		}
		last = s.End
	}
	if len(env.Tags) > MaxTags {
		return fmt.Errorf("%d tags, the limit is %d", len(env.Tags), MaxTags)
	}
	for _, tag := range env.Tags {
		if !IsTag(tag) {
			return fmt.Errorf("tag %.200q is not a word of 1 to %d bytes", tag, MaxTag)
		}
	}
	if env.Route != "" && !IsTag(env.Route) {
		return fmt.Errorf("route %.200q is not a word of up to %d bytes", env.Route, MaxTag)
	}
	return nil
}

// IsTag reports whether s can be a tag or the name of a route: 1 to MaxTag bytes of printable ASCII
// without spaces and commas.
func IsTag(s string) bool {
	if s == "" || len(s) > MaxTag {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ',' {
			return false
		}
	}
	return true
}

// AppendField appends a header field without its CRLF, such as "X-Spam: yes", to front. A long
// value may be folded by CRLF and a space or TAB. If the field is malformed, or front would become
// longer than MaxFront, AppendField reports false and returns front as it was, up to its length.
func AppendField(front []byte, field string) ([]byte, bool) {
	if len(front)+len(field)+len("\r\n") > MaxFront {
		return front, false
	}
	longer := append(front, field...)
	longer = append(longer, "\r\n"...)
	if checkFront(longer[len(front):]) != nil || bytes.HasSuffix(longer, []byte("\r\n\r\n")) {
		return front, false
	}
	return longer, true
}

var (
	errFrontLine  = errors.New("a line does not end in CRLF")
	errFrontBytes = errors.New("a line holds a byte other than printable ASCII and TAB")
	errFrontField = errors.New("a line is neither a field nor a folded part of one")
	errFrontLong  = errors.New("a line is too long")
)

// checkFront checks that front consists of whole header fields in ASCII, with perhaps an empty line at
// its end, for a body that has no header. It can't become part of the body's first field, nor make the
// message need an extension.
func checkFront(front []byte) error {
	if len(front) > MaxFront {
		return fmt.Errorf("%d bytes, the limit is %d", len(front), MaxFront)
	}
	rest := front
	if bytes.HasSuffix(rest, []byte("\r\n\r\n")) {
		rest = rest[:len(rest)-len("\r\n")]
	}
	for first := true; len(rest) > 0; first = false {
		line, after, ended := bytes.Cut(rest, []byte("\r\n"))
		rest = after
		switch {
		case !ended:
			return errFrontLine
		case len(line) > maxLine: // RFC 5322 section 2.1.1
			return errFrontLong
		}
		for _, c := range line {
			if c != '\t' && (c < ' ' || c > '~') {
				return errFrontBytes
			}
		}
		if !isFieldLine(line, first) {
			return errFrontField
		}
	}
	return nil
}

// isFieldLine reports whether line begins a field, or, unless it is the first one, continues one. A
// continuation of white space only would be read as the end of the header by some.
func isFieldLine(line []byte, first bool) bool {
	if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		return !first && len(bytes.Trim(line, " \t")) > 0
	}
	name, _, ok := bytes.Cut(line, []byte{':'})
	return ok && len(name) > 0 && !bytes.ContainsAny(name, " \t")
}
