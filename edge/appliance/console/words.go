package console

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a line.
const (
	maxLine  = 1024 // octets
	maxWords = 100
)

// Errors of Split.
var (
	errQuote     = errors.New("a quote is not closed")
	errBackslash = errors.New("a backslash stands before nothing")
)

// Split takes a line apart into words, as a shell does and without anything else
// that a shell does: words are apart by blanks, 'single quotes' keep all between
// them as it is, in "double quotes" and outside a backslash keeps the next
// character. Nothing is expanded, and no character means another command.
//
// A line with a control character, that is no UTF-8, or that is too long is an
// error.
func Split(line string) ([]string, error) {
	switch {
	case len(line) > maxLine:
		return nil, fmt.Errorf("the line has %d octets; %d are allowed", len(line), maxLine)
	case !utf8.ValidString(line):
		return nil, errors.New("the line is no UTF-8")
	}
	s := splitter{}
	for _, r := range line {
		if unicode.IsControl(r) && r != '\t' {
			return nil, fmt.Errorf("a control character (%U) stands in the line", r)
		}
		s.take(r)
	}
	switch {
	case s.quote != 0:
		return nil, errQuote
	case s.escaped:
		return nil, errBackslash
	}
	s.end()
	if len(s.words) > maxWords {
		return nil, fmt.Errorf("the line has %d words; %d are allowed", len(s.words), maxWords)
	}
	return s.words, nil
}

// splitter is where Split stands in a line.
type splitter struct {
	words   []string
	word    strings.Builder
	begun   bool // a word has begun, which "" does too
	quote   rune // that is open; 0: none
	escaped bool // by a backslash before
}

func (s *splitter) take(r rune) {
	switch {
	case s.escaped:
		s.escaped = false
		s.word.WriteRune(r)
	case r == '\\' && s.quote != '\'':
		s.escaped, s.begun = true, true
	case s.quote != 0 && r == s.quote:
		s.quote = 0
	case s.quote != 0:
		s.word.WriteRune(r)
	case r == '\'' || r == '"':
		s.quote, s.begun = r, true
	case r == ' ' || r == '\t':
		s.end()
	default:
		s.begun = true
		s.word.WriteRune(r)
	}
}

// end ends the word that has begun.
func (s *splitter) end() {
	if s.begun {
		s.words = append(s.words, s.word.String())
		s.word.Reset()
		s.begun = false
	}
}
