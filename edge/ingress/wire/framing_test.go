package wire

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// outcome is where a message went.
type outcome struct {
	out  string // what was passed on; of a fault, no more than what came before it
	used int    // bytes up to the end; 0 unless done
	done bool
	bad  bool
}

// model reads a message the slow and obvious way: line by line, whole lines.
func model(input string, dotted bool, maxLine int) outcome {
	var o outcome
	rest := input
	for {
		i := strings.IndexByte(rest, '\n')
		line := rest[:i+1]
		if i < 0 { // the start of a line, which may still grow
			line = rest
		}
		text, ended := strings.CutSuffix(line, "\r\n")
		switch {
		case i >= 0 && !ended:
			return outcome{out: o.out, bad: true} // bare LF
		case strings.Contains(text, "\x00"):
			return outcome{out: o.out, bad: true}
		case strings.Contains(strings.TrimSuffix(text, "\r"), "\r"), ended && strings.HasSuffix(text, "\r"):
			return outcome{out: o.out, bad: true} // bare CR
		}
		if dotted && line == ".\r\n" {
			o.done, o.used = true, len(input)-len(rest)+len(line)
			return o
		}
		if i < 0 && dotted && (line == "." || line == ".\r") {
			return o // nobody can tell yet
		}
		if dotted {
			line = strings.TrimPrefix(line, ".")
		}
		if maxLine > 0 && len(line) > maxLine {
			return outcome{out: o.out, bad: true}
		}
		o.out += line
		if i < 0 {
			return o
		}
		rest = rest[i+1:]
	}
}

// parse gives input to framing in pieces whose lengths are in chunks, and the
// rest at once.
func parse(input string, chunks []byte, dotted bool, maxLine int) outcome {
	m := framing{maxLine: maxLine, dotted: dotted}
	var o outcome
	var out bytes.Buffer
	start, end := 0, 0 // what was read and not used
	for {
		run, used, done, err := m.next([]byte(input[start:end]))
		if err != nil {
			return outcome{out: out.String(), bad: true}
		}
		out.Write(run)
		start += used
		if done {
			o.done, o.used = true, start
			break
		}
		if used > 0 && start < end {
			continue
		}
		if end == len(input) {
			break
		}
		n := len(input) - end
		if len(chunks) > 0 {
			n = min(n, int(chunks[0])+1)
			chunks = chunks[1:]
		}
		end += n
	}
	o.out = out.String()
	return o
}

// check compares both, and looks for what must never be passed on.
func check(t *testing.T, input string, chunks []byte, dotted bool, maxLine int) {
	t.Helper()
	want, got := model(input, dotted, maxLine), parse(input, chunks, dotted, maxLine)
	if got.bad != want.bad || got.done != want.done || got.used != want.used || !got.bad && got.out != want.out {
		t.Errorf("%q in pieces of %v:\n got %+v\nwant %+v", input, chunks, got, want)
	}
	for _, o := range []outcome{want, got} {
		clean := strings.ReplaceAll(o.out, "\r\n", "")
		if !o.done {
			clean = strings.TrimSuffix(clean, "\r") // its LF is still to come
		}
		if strings.ContainsAny(clean, "\r\n\x00") {
			t.Errorf("%q in pieces of %v: passed on %q", input, chunks, o.out)
		}
	}
}

var messages = []string{
	"", ".", ".\r", ".\r\n", "..\r\n.\r\n", ".\r\r\n", ".\n", ".\rx", "..", "...\r\n", ".x\r\n.\r\n",
	"a\r\n.\r\n", "a\r\n..\r\n.\r\nb", "a\r\n.b\r\n.\r\n", "a.\r\n.\r\n", "a\r\n\r\n.\r\n",
	"a\n.\n", "a\n.\r\n", "a\r\n.\n", "a\r.\r\n", "a\r\n.\r", "\r\r\n", "a\r\r\n.\r\n", "a\r\n\r.\r\n",
	"a\x00b\r\n.\r\n", "\x00", "\r", "\n", "\r\n", "\n\r", "\r\n\n", "\r\n\r", "\r\n\r\n", "a\r", "a\r\nb\r",
	"1234567\r\n.\r\n", "12345678\r\n.\r\n", ".1234567\r\n", "..234567\r\n.\r\n", "12345678\r", "123456789", "1234567890",
	"a\r\nb\r\nc\r\n.d\r\n.\r\ne\r\n.\r\n", "\xff\xfe\r\n.\r\n",
}

func TestFraming(t *testing.T) {
	for _, input := range messages {
		for _, dotted := range []bool{true, false} {
			for _, maxLine := range []int{0, 10} {
				check(t, input, nil, dotted, maxLine)
				// Byte by byte, and cut in two at each place.
				check(t, input, make([]byte, len(input)), dotted, maxLine)
				for cut := range len(input) {
					check(t, input, []byte{byte(cut)}, dotted, maxLine)
				}
			}
		}
	}
}

// TestFramingAll checks every short message made of the bytes that matter, cut
// at every place.
func TestFramingAll(t *testing.T) {
	const special = ".\r\nx"
	longest := 8
	if testing.Short() {
		longest = 6
	}
	var input [8]byte
	var attempt func(n, length int)
	attempt = func(n, length int) {
		if n < length {
			for i := range len(special) {
				input[n] = special[i]
				attempt(n+1, length)
			}
			return
		}
		s := string(input[:length])
		check(t, s, nil, true, 0)
		check(t, s, make([]byte, length), true, 0)
		for cut := range length - 1 {
			check(t, s, []byte{byte(cut)}, true, 0)
		}
	}
	for length := range longest + 1 {
		if attempt(0, length); t.Failed() {
			return
		}
	}
}

func FuzzFraming(f *testing.F) {
	for _, input := range messages {
		f.Add(input, []byte{0, 1, 2}, true, 10)
		f.Add(input, []byte{1}, false, 0)
	}
	f.Fuzz(func(t *testing.T, input string, chunks []byte, dotted bool, maxLine int) {
		check(t, input, chunks, dotted, maxLine)
	})
}

func TestFramingFaults(t *testing.T) {
	for input, want := range map[string]error{
		"a\nb\r\n": ErrBareLF, "a\rb\r\n": ErrBareCR, "a\x00\r\n": ErrNUL, "1234567890\r\n": ErrLongText,
	} {
		m := framing{maxLine: 10}
		if _, _, _, err := m.next([]byte(input)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", input, err, want)
		}
	}
	m := framing{}
	if _, _, _, err := m.next([]byte("a\r")); err != nil {
		t.Error(err)
	}
	if err := m.end(); !errors.Is(err, ErrBareCR) {
		t.Errorf("CR at the end: %v", err)
	}
}
