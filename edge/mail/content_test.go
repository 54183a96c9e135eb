package mail

import (
	"bytes"
	"fmt"
	"testing"
)

// naiveContent finds what a ContentScan has to find, in the most obvious way.
func naiveContent(message []byte) Content {
	content := ContentKnown
	header := true
	for _, line := range bytes.SplitAfter(message, []byte("\n")) {
		for _, c := range line {
			switch {
			case c < 0x80:
			case header:
				content |= ContentEightHeader
			default:
				content |= ContentEightBody
			}
		}
		if string(line) == "\r\n" || string(line) == "\n" {
			header = false
		}
	}
	return content
}

// scanPieces writes a message to a scan in pieces, cut at the given offsets.
func scanPieces(message []byte, cuts ...int) Content {
	var s ContentScan
	for _, cut := range cuts {
		cut = min(max(cut, 0), len(message))
		_, _ = s.Write(message[:cut])
		message = message[cut:]
	}
	_, _ = s.Write(message)
	return s.Content()
}

func TestContentScan(t *testing.T) {
	long := string(bytes.Repeat([]byte("0123456789abcdef"), 20))
	for _, test := range []struct {
		name, message string
		want          Content
	}{
		{"empty", "", ContentKnown},
		{"ASCII", "Subject: x\r\n\r\ntext\r\n", ContentKnown},
		{"header", "Subject: ü\r\n\r\ntext\r\n", ContentKnown | ContentEightHeader},
		{"body", "Subject: u\r\n\r\ntäxt\r\n", ContentKnown | ContentEightBody},
		{"both", "Subject: ü\r\n\r\ntäxt\r\n", ContentKnown | ContentEightHeader | ContentEightBody},
		{"no header", "\r\nü\r\n", ContentKnown | ContentEightBody},
		{"no body", "Subject: ü\r\n", ContentKnown | ContentEightHeader},
		{"no empty line", "Subject: x\r\nü\r\n", ContentKnown | ContentEightHeader},
		{"folded to a blank line that is not empty", "Subject: x\r\n \r\n ü\r\n\r\n", ContentKnown | ContentEightHeader},
		{"CR in a line", "Subject: x\r \r\nü: y\r\n\r\n", ContentKnown | ContentEightHeader},
		{"CR before CRLF at the start of a line", "A: b\r\n\r\r\nü\r\n\r\n", ContentKnown | ContentEightHeader},
		{"bare LF", "A: b\n\nü", ContentKnown | ContentEightBody},
		{"last byte of the header", "A: \xff\r\n\r\n", ContentKnown | ContentEightHeader},
		{"first byte of the body", "A: b\r\n\r\n\x80", ContentKnown | ContentEightBody},
		{"DEL is ASCII", "A: \x7f\r\n\r\n\x7f", ContentKnown},
		{"long", "A: " + long + "\r\n\r\n" + long + "\x80" + long, ContentKnown | ContentEightBody},
		{"long header", "A: " + long + "\x80\r\n\r\n" + long, ContentKnown | ContentEightHeader},
	} {
		t.Run(test.name, func(t *testing.T) {
			message := []byte(test.message)
			if got := naiveContent(message); got != test.want {
				t.Fatalf("the naive scan finds %b, want %b", got, test.want)
			}
			for cut := 0; cut <= len(message); cut++ {
				if got := scanPieces(message, cut); got != test.want {
					t.Errorf("cut at %d: %b, want %b", cut, got, test.want)
				}
			}
			var s ContentScan
			for i := range message {
				_, _ = s.Write(message[i : i+1])
			}
			if got := s.Content(); got != test.want {
				t.Errorf("byte by byte: %b, want %b", got, test.want)
			}
		})
	}
}

// hasEightBit finds an 8-bit byte at each position of a word, whatever the length of its chunk.
func TestHasEightBit(t *testing.T) {
	for length := range 130 {
		p := bytes.Repeat([]byte{0x7f}, length)
		if hasEightBit(p) {
			t.Fatalf("found one in %d ASCII bytes", length)
		}
		for at := range p {
			p[at] = 0x80
			if !hasEightBit(p) {
				t.Errorf("missed the byte at %d of %d", at, length)
			}
			p[at] = 0x7f
		}
	}
}

func FuzzContentScan(f *testing.F) {
	f.Add([]byte("Subject: x\r\n\r\ntext\r\n"), uint16(3), uint16(8))
	f.Add([]byte("S: \xc3\xbc\r\n\r\n\xff"), uint16(7), uint16(1))
	f.Add([]byte("\r\n\x80"), uint16(1), uint16(1))
	f.Add([]byte("a\r\r\n\n\x80"), uint16(2), uint16(2))
	f.Fuzz(func(t *testing.T, message []byte, first, second uint16) {
		if got, want := scanPieces(message, int(first), int(second)), naiveContent(message); got != want {
			t.Errorf("%q cut after %d and %d: %b, want %b", message, first, second, got, want)
		}
	})
}

func TestContentScanAllocates(t *testing.T) {
	message := []byte("Subject: x\r\n\r\n" + string(bytes.Repeat([]byte("text\r\n"), 1000)))
	if n := testing.AllocsPerRun(10, func() {
		var s ContentScan
		_, _ = s.Write(message)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkContentScan(b *testing.B) {
	for _, size := range []int{8 << 10, 1 << 20} {
		message := []byte("Subject: a message\r\nFrom: <a@example.org>\r\nTo: <b@example.net>\r\n\r\n")
		for len(message) < size {
			message = append(message, "A line of text as people write it, of about seventy bytes in all.\r\n"...)
		}
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(message)))
			b.ReportAllocs()
			for b.Loop() {
				var s ContentScan
				_, _ = s.Write(message)
			}
		})
	}
}
