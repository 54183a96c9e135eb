package kit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Story is a dialogue in a file, with a step on each line: a word, and what it is about. Blank lines
// and those that begin with # are skipped; "3 x " before a step repeats it.
type Story struct {
	T    *testing.T
	File string // without its folder
	Text string
	Line int // of the step that is running
}

// EachStory plays the stories in the files that match pattern, in parallel. There must be one.
func EachStory(t *testing.T, pattern string, play func(Story)) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories in %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play(Story{T: t, File: filepath.Base(file), Text: string(text)})
		})
	}
}

// Fatal ends the test with the place in the story.
func (s *Story) Fatal(format string, args ...any) {
	s.T.Helper()
	s.T.Fatalf("%s:%d: %s", s.File, s.Line, fmt.Sprintf(format, args...))
}

var repeatedStep = regexp.MustCompile(`^(\d+) x `)

// Play runs step for each step of the story. What "C:" steps say is collected, and passed to send
// before the next step or at the end.
func (s *Story) Play(step func(word, rest string), send func([]byte)) {
	s.T.Helper()
	var pending []byte
	flush := func() {
		if len(pending) > 0 {
			send(pending)
			pending = nil
		}
	}
	for line := range strings.Lines(s.Text) {
		s.Line++
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		times := 1
		if m := repeatedStep.FindStringSubmatch(line); m != nil {
			times, _ = strconv.Atoi(m[1])
			line = line[len(m[0]):]
		}
		word, rest, _ := strings.Cut(line, " ")
		if word == "C:" {
			pending = append(pending, bytes.Repeat(s.Unescape(rest), times)...)
			continue
		}
		for range times {
			flush()
			step(word, rest)
		}
	}
	flush()
}

// Expect checks that got matches want, in which * matches anything.
func (s *Story) Expect(got, want string) {
	s.T.Helper()
	if !Pattern(want).MatchString(got) {
		s.Fatal("got %q, want %q", got, want)
	}
}

// Pattern compiles text in which * matches anything.
func Pattern(text string) *regexp.Regexp {
	return regexp.MustCompile("^(?s:" + strings.ReplaceAll(regexp.QuoteMeta(text), `\*`, ".*") + ")$")
}

var many = regexp.MustCompile(`\{(.+?)\*(\d+)\}`)

// Unescape returns the bytes of text: \r \n \t \0 \xHH \\ are single bytes, and {x*N} is N times x.
func (s *Story) Unescape(text string) []byte {
	s.T.Helper()
	text = many.ReplaceAllStringFunc(text, func(m string) string {
		parts := many.FindStringSubmatch(m)
		n, _ := strconv.Atoi(parts[2])
		return strings.Repeat(parts[1], n)
	})
	text = escaped.ReplaceAllStringFunc(text, func(m string) string {
		b, err := strconv.Unquote(`"` + strings.Replace(m, `\0`, `\x00`, 1) + `"`)
		if err != nil {
			s.Fatal("%s: %v", m, err)
		}
		return b
	})
	return []byte(text)
}

var escaped = regexp.MustCompile(`\\(x..|.|$)`)
