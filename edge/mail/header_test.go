package mail

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// indexIn indexes message in chunks of random sizes, or in one piece.
func indexIn(message string, rnd *rand.Rand) *Header {
	h := &Header{}
	for p := []byte(message); ; {
		n := len(p)
		if rnd != nil {
			n = min(len(p), rnd.IntN(4))
		}
		h.Write(p[:n])
		if p = p[n:]; len(p) == 0 {
			return h
		}
	}
}

// fields returns the index as "name=its bytes" in one string.
func fields(h *Header, message string) string {
	var all []string
	for i, f := range h.Fields {
		all = append(all, fmt.Sprintf("%s=%q", h.Name(i), message[f.Value:f.End]))
	}
	return strings.Join(all, " ")
}

func TestHeader(t *testing.T) {
	tests := []struct {
		name, message string
		fields        string
		size          int
		ended, blank  bool
		starts        bool
	}{
		{"usual", "Received: a\r\n\tb\r\nDate: d\r\n\r\nReceived: body\r\n", `received=" a\r\n\tb\r\n" date=" d\r\n"`, 28, true, true, true},
		{"case and space before the colon", "RECEIVED : a\r\nmEssage-Id:x\r\n\r\n", `received=" a\r\n" message-id="x\r\n"`, 30, true, true, true},
		{"folded lines hold no field", "Subject: x\r\n Date: y\r\n\r\n", `subject=" x\r\n Date: y\r\n"`, 24, true, true, true},
		{"empty", "", "", 0, false, false, false},
		{"no header", "\r\nReceived: x\r\n", "", 2, true, true, true},
		{"header only", "Date: x\r\n", `date=" x\r\n"`, 9, false, false, true},
		{"no line end", "Date: x", `date=" x"`, 7, false, false, true},
		{"name only", "Date: x\r\nFro", `date=" x\r\n"`, 12, false, false, true},
		{"no field", "Date: x\r\nhello world\r\nFrom: y\r\n", `date=" x\r\n"`, 9, true, false, true},
		{"no colon", "Date: x\r\nhello\r\nFrom: y\r\n", `date=" x\r\n"`, 9, true, false, true},
		{"mbox line", "From a@b Sat Nov 21 22:58:52 2026\r\nDate: x\r\n", "", 0, true, false, false},
		{"name is empty", ": x\r\nDate: y\r\n", "", 0, true, false, false},
		{"starts folded", " Date: x\r\nDate: y\r\n", "", 0, true, false, false},
		{"starts with a tab", "\tby somebody else\r\nDate: y\r\n\r\n", "", 0, true, false, false},
		{"beyond ASCII", "Date: x\r\nD\xc3\xa4te: y\r\n", `date=" x\r\n"`, 9, true, false, true},
		{"bare LF", "Date: x\nFrom: y\n\nReceived: z\n", `date=" x\n" from=" y\n"`, 17, true, true, true},
		{"CR alone", "Date: x\r\n\rReceived: z\r\n", `date=" x\r\n"`, 9, true, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(50) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				if seed == 0 {
					rnd = nil
				}
				h := indexIn(tt.message, rnd)
				if got := fields(h, tt.message); got != tt.fields {
					t.Fatalf("seed %d: %s", seed, got)
				}
				if h.Ended != tt.ended || h.Ended && h.NoBlank == tt.blank || h.Size != int64(tt.size) || h.TooLarge || h.Starts() != tt.starts {
					t.Fatalf("seed %d: ended %v, no blank %v, size %d, too large %v, starts %v", seed, h.Ended, h.NoBlank, h.Size, h.TooLarge, h.Starts())
				}
			}
		})
	}
}

// The index has bounds, which the default ones are above all that real mail has.
func TestHeaderTooLarge(t *testing.T) {
	for name, tt := range map[string]struct {
		message string
		fields  int
		large   bool
	}{
		"as many fields":     {strings.Repeat("A:\r\n", 10) + "\r\n", 10, false},
		"a field more":       {strings.Repeat("A:\r\n", 11) + "\r\n", 10, true},
		"as many bytes":      {"A: " + strings.Repeat("x", 93) + "\r\n\r\n", 1, false},
		"a byte more":        {"A: " + strings.Repeat("x", 94) + "\r\n\r\n", 1, true},
		"a body of any size": {"A: x\r\n\r\n" + strings.Repeat("x", 1000), 1, false},
	} {
		h := Header{MaxSize: 100, MaxFields: 10}
		h.Write([]byte(tt.message))
		if len(h.Fields) != tt.fields || h.TooLarge != tt.large {
			t.Errorf("%s: %d fields, too large %v", name, len(h.Fields), h.TooLarge)
		}
	}
	var h Header
	for range 1 << 20 {
		h.Write([]byte("Field-With-A-Name:\r\n"))
	}
	if !h.TooLarge || len(h.Fields) != DefaultMaxFields || cap(h.names) > 1<<20 {
		t.Errorf("%d fields, %d bytes of names", len(h.Fields), cap(h.names))
	}
	long := Header{}
	long.Write([]byte(strings.Repeat("x", 1000) + ": y\r\n"))
	if len(long.Name(0)) != maxFieldName || long.Fields[0].Value != 1001 {
		t.Errorf("name of %d bytes, value at %d", len(long.Name(0)), long.Fields[0].Value)
	}
}

func TestHeaderCount(t *testing.T) {
	h := indexIn("Received: a\r\nX-Received: b\r\nRECEIVED: c\r\nReceived-SPF: d\r\n\r\nReceived: e\r\n", nil)
	if n := h.Count("received"); n != 2 {
		t.Errorf("%d Received fields", n)
	}
	if h.Reset(); h.Count("received") != 0 || h.Ended || h.Size != 0 {
		t.Errorf("after Reset: %+v", h)
	}
}

func TestHeaderAllocates(t *testing.T) {
	message := []byte(benchMessage())
	var h Header
	h.Write(message)
	if n := testing.AllocsPerRun(100, func() { h.Reset(); h.Write(message) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("Received: a\r\n\tb\r\nDate: d\r\n\r\nbody", uint64(1))
	f.Add("Date : x\nhello\r\n\rz", uint64(2))
	f.Fuzz(func(t *testing.T, message string, seed uint64) {
		whole := indexIn(message, nil)
		cut := indexIn(message, rand.New(rand.NewPCG(seed, 1)))
		if a, b := fields(whole, message), fields(cut, message); a != b {
			t.Fatalf("in one piece %s, in chunks %s", a, b)
		}
		if !whole.TooLarge && (whole.Ended != cut.Ended || whole.NoBlank != cut.NoBlank || whole.Size != cut.Size) {
			t.Fatalf("in one piece %+v, in chunks %+v", whole, cut)
		}
		end := int64(0)
		for i, f := range whole.Fields {
			if f.Start != end || f.Value <= f.Start || f.End < f.Value {
				t.Fatalf("field %d: %+v after %d", i, f, end)
			}
			name := bytes.ToLower([]byte(message[f.Start:f.Value]))
			if !bytes.HasPrefix(name, whole.Name(i)) {
				t.Fatalf("field %d is %q, its name %q", i, name, whole.Name(i))
			}
			end = f.End
		}
	})
}

func benchMessage() string {
	return strings.Repeat("Received: from helo.example by mx.example.net with ESMTP\r\n\tfor <b@example.net>; Sat, 21 Nov 2026 22:58:52 +0000\r\n", 4) +
		"Date: x\r\nFrom: y\r\nMessage-ID: <z@example.com>\r\nSubject: " + strings.Repeat("x", 60) + "\r\n\r\n" +
		strings.Repeat(strings.Repeat("b", 76)+"\r\n", 128)
}

func BenchmarkHeader(b *testing.B) {
	message := []byte(benchMessage())
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	var h Header
	for b.Loop() {
		h.Reset()
		h.Write(message)
		if h.Count("received") != 4 {
			b.Fatal(h.Fields)
		}
	}
}
