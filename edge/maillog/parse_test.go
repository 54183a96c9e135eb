package maillog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// field is one field of a parsed line.
type field struct{ key, value string }

// parseLogfmt parses a line of logfmt, strictly: key=word or key="quoted", with one space in
// between.
func parseLogfmt(line string) ([]field, error) {
	var fields []field
	for {
		key, rest, ok := strings.Cut(line, "=")
		if !ok || !keys.MatchString(key) {
			return nil, fmt.Errorf("bad key in %q", line)
		}
		value := ""
		if strings.HasPrefix(rest, `"`) {
			quoted := quotedText.FindString(rest)
			rest = rest[len(quoted):]
			if err := json.Unmarshal([]byte(quoted), &value); err != nil {
				return nil, fmt.Errorf("bad value %s: %w", quoted, err)
			}
		} else {
			end := strings.IndexByte(rest, ' ')
			if end < 0 {
				end = len(rest)
			}
			value, rest = rest[:end], rest[end:]
			if value == "" || strings.ContainsAny(value, "=\"\\\r\n\t") {
				return nil, fmt.Errorf("bad word %q", value)
			}
		}
		fields = append(fields, field{key, value})
		if rest == "" {
			return fields, nil
		}
		if line, ok = strings.CutPrefix(rest, " "); !ok {
			return nil, fmt.Errorf("no space before %q", rest)
		}
	}
}

// parseJSON parses an object of strings and numbers, keeping its order.
func parseJSON(line string) ([]field, error) {
	var whole map[string]any
	if err := json.Unmarshal([]byte(line), &whole); err != nil {
		return nil, fmt.Errorf("%q: %w", line, err)
	}
	d := json.NewDecoder(strings.NewReader(line))
	d.UseNumber()
	var fields []field
	var key string
	for n := 0; ; n++ {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if _, delim := token.(json.Delim); delim {
			n = -1
			continue
		}
		if n%2 == 0 {
			key = token.(string)
		} else {
			fields = append(fields, field{key, fmt.Sprint(token)})
		}
	}
	if len(fields) != len(whole) {
		return nil, fmt.Errorf("%q: duplicate key", line)
	}
	return fields, nil
}

// record runs write on a Log and parses its lines.
func record(t testing.TB, json bool, write func(*Log)) [][]field {
	t.Helper()
	var out bytes.Buffer
	l := New(&out, Options{JSON: json, Now: func() time.Time { return noon }})
	write(l)
	l.Close()
	return readBack(t, json, out.String())
}

func readBack(t testing.TB, json bool, out string) [][]field {
	t.Helper()
	parse := parseLogfmt
	if json {
		parse = parseJSON
	}
	var lines [][]field
	for line := range strings.Lines(out) {
		text, ok := strings.CutSuffix(line, "\n")
		if !ok || strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 || !utf8.ValidString(text) {
			t.Errorf("not a clean line: %q", line)
		}
		fields, err := parse(text)
		if err != nil {
			t.Errorf("%v", err)
		}
		lines = append(lines, fields)
	}
	return lines
}

var (
	keys       = regexp.MustCompile(`^[a-z]+$`)
	quotedText = regexp.MustCompile(`^"([^"\\]|\\.)*"`)
)
