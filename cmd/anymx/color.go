package main

import (
	"bytes"
	"io"
	"regexp"
)

// problemLine is a line of the status that begins with an exclamation mark, after its label.
var problemLine = regexp.MustCompile(`(?m)^((?:[A-Z][A-Za-z]*)? *)(! ?.*)$`)

// highlight prints the output of write, with problems in red if that is useful: on a terminal,
// unless --no-color or NO_COLOR (no-color.org) is set.
func (p *program) highlight(w io.Writer, write func(io.Writer) error) error {
	if p.json || p.noColor || p.colors == nil || p.getenv("NO_COLOR") != "" || !p.colors() {
		return write(w)
	}
	var text bytes.Buffer
	if err := write(&text); err != nil {
		return err
	}
	_, err := w.Write(problemLine.ReplaceAll(text.Bytes(), []byte("$1\x1b[31m$2\x1b[0m")))
	return err
}
