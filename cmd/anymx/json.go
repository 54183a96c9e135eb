package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// encode returns value as JSON, without a final newline. It escapes what a terminal could
// interpret, because people read JSON too.
func encode(value any, indent string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	err := enc.Encode(value)
	return escape(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), err
}

// escape replaces characters that are not printable, which occur only in strings, by their JSON
// escapes.
func escape(text []byte) []byte {
	strange := func(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }
	if !bytes.ContainsFunc(text, strange) {
		return text
	}
	var b []byte
	for _, r := range string(text) {
		switch {
		case !strange(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

// array writes a JSON array whose elements are not all known yet. Until it is closed it is invalid
// JSON, so that a part can't be mistaken for the whole.
type array struct {
	w     io.Writer
	count int
}

func (a *array) add(value any) error {
	before := "[\n  "
	if a.count > 0 {
		before = ",\n  "
	}
	a.count++
	b, err := encode(value, "")
	if err == nil {
		_, err = fmt.Fprintf(a.w, "%s%s", before, b)
	}
	return err
}

func (a *array) close() error {
	end := "\n]"
	if a.count == 0 {
		end = "[]"
	}
	_, err := io.WriteString(a.w, end)
	return err
}
