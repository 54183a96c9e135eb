package console

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a line.
const (
	maxLine  = 1024 // bytes
	maxWords = 100
)

// Errors of Split.
var (
	errQuote     = errors.New("a quote is not closed")
	errBackslash = errors.New("the line ends with a backslash")
)

// Split splits a line into words, like a shell but without anything else of a shell: words are
// separated by blanks, 'single quotes' keep everything between them, in "double quotes" and outside
// a backslash keeps the next character. Nothing is expanded, and no character starts another
// command.
//
// A line with a control character, with invalid UTF-8, or that is too long is an error.
func Split(line string) ([]string, error) {
	switch {
	case len(line) > maxLine:
		return nil, fmt.Errorf("the line has %d bytes; the limit is %d", len(line), maxLine)
	case !utf8.ValidString(line):
		return nil, errors.New("the line is not valid UTF-8")
	}
	s := splitter{}
	for _, r := range line {
		if unicode.IsControl(r) && r != '\t' {
			return nil, fmt.Errorf("the line has a control character (%U)", r)
		}
		s.add(r)
	}
	switch {
	case s.quote != 0:
		return nil, errQuote
	case s.escaped:
		return nil, errBackslash
	}
	s.end()
	if len(s.words) > maxWords {
		return nil, fmt.Errorf("the line has %d words; the limit is %d", len(s.words), maxWords)
	}
	return s.words, nil
}

// splitter is the state of Split.
type splitter struct {
	words   []string
	word    strings.Builder
	begun   bool // a word has started, also an empty one by ""
	quote   rune // the open one; 0: none
	escaped bool // by the previous backslash
}

func (s *splitter) add(r rune) {
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

// end ends the current word.
func (s *splitter) end() {
	if s.begun {
		s.words = append(s.words, s.word.String())
		s.word.Reset()
		s.begun = false
	}
}
