package main

import (
	"bytes"
	"strings"
	"testing"
)

// plainEnd finds the end of a message line by line. It returns the length of the message on the wire, with
// the end dot, and of its body.
func plainEnd(stream []byte) (length, content int, ok bool) {
	inBody := false
	for rest := stream; ; {
		end := bytes.Index(rest, []byte("\r\n"))
		if end < 0 {
			return 0, 0, false
		}
		line := rest[:end]
		rest = rest[end+2:]
		if string(line) == "." {
			return len(stream) - len(rest), content, true
		}
		if inBody {
			content += len(bytes.TrimPrefix(line, []byte("."))) + 2
		}
		inBody = inBody || len(line) == 0
	}
}

// feed passes the stream to a scan in pieces of the given lengths, then the rest byte by byte, each after
// the unused bytes before it. It returns how many bytes were used up to the end.
func feed(stream []byte, pieces []int) (length, content int, ok bool) {
	var scan endScan
	from, to := 0, 0
	for next := 0; to < len(stream); next++ {
		size := 1
		if next < len(pieces) {
			size = pieces[next]
		}
		to = min(len(stream), to+size)
		used, ended := scan.scan(stream[from:to])
		from += used
		if ended {
			return from, scan.content(), true
		}
	}
	return 0, 0, false
}

var streams = []string{
	".\r\n",
	"\r\n.\r\n",
	"\r\nbody\r\n.\r\n",
	"A: b\r\n\r\nbody\r\n.\r\nMAIL FROM:<>\r\n",
	"A: b\r\n\r\n.\r\n",
	"A: b\r\n\r\n..\r\n.\r\n",
	"A: b\r\n\r\n..stuffed\r\n...twice\r\nx.y\r\n.\r\n",
	"A: b\r\n..odd header\r\n\r\nbody\r\n.\r\n",
	"no header end\r\n.\r\n",
	"A: b\r\n\r\n\r\n\r\n\r\n.\r\n",
	"A: b\r\n\r\nbody\r\n.\rnot the end\r\n.\r\n",
	"A: b\r\n\r\nbody\r\n.\r\n.\r\n",
	"A: b\r\n\r\n" + strings.Repeat("0123456789\r\n", 50) + ".\r\n",
	"never ends\r\n.\r",
	"",
}

func TestEndScanInPieces(t *testing.T) {
	for _, s := range streams {
		wantLength, wantContent, wantOK := plainEnd([]byte(s))
		check := func(pieces []int) {
			t.Helper()
			length, content, ok := feed([]byte(s), pieces)
			if length != wantLength || content != wantContent || ok != wantOK {
				t.Errorf("%q in %v: got %d %d %v, want %d %d %v",
					s, pieces, length, content, ok, wantLength, wantContent, wantOK)
			}
		}
		check([]int{len(s)})
		check(nil)
		for first := range len(s) {
			check([]int{first, len(s)})
		}
	}
}

func FuzzEndScan(f *testing.F) {
	for _, s := range streams {
		f.Add([]byte(s), uint8(3), uint8(7))
	}
	f.Fuzz(func(t *testing.T, stream []byte, first, second uint8) {
		if bytes.Contains(bytes.ReplaceAll(stream, []byte("\r\n"), nil), []byte("\n")) {
			t.Skip("only one of the two treats a bare LF as a line end")
		}
		wantLength, wantContent, wantOK := plainEnd(stream)
		length, content, ok := feed(stream, []int{int(first), int(second), int(first)})
		if length != wantLength || content != wantContent || ok != wantOK {
			t.Errorf("%q: got %d %d %v, want %d %d %v", stream, length, content, ok, wantLength, wantContent, wantOK)
		}
	})
}
