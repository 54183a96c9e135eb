package mail

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// scanIn scans message in chunks of random sizes.
func scanIn(message string, rnd *rand.Rand, keep int) *HeaderScan {
	h := &HeaderScan{}
	if keep >= 0 {
		h.Keep(make([]byte, 0, keep))
	}
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

func TestHeaderScan(t *testing.T) {
	tests := []struct {
		name, message string
		received      int
		has           string // of "dfm"
		header        string // what belongs to it
		ended, blank  bool
	}{
		{"usual", "Received: a\r\n\tb\r\nReceived: c\r\nDate: d\r\nFrom: e\r\nMessage-ID: <f>\r\n\r\nReceived: body\r\n", 2, "dfm",
			"Received: a\r\n\tb\r\nReceived: c\r\nDate: d\r\nFrom: e\r\nMessage-ID: <f>\r\n\r\n", true, true},
		{"case and space before the colon", "RECEIVED : a\r\nreceived\t:b\r\nmEssage-Id:x\r\n\r\n", 2, "m", "RECEIVED : a\r\nreceived\t:b\r\nmEssage-Id:x\r\n\r\n", true, true},
		{"other names", "X-Received: a\r\nReceived-SPF: b\r\nDat: c\r\nDates: d\r\nReceive: e\r\n\r\n", 0, "", "X-Received: a\r\nReceived-SPF: b\r\nDat: c\r\nDates: d\r\nReceive: e\r\n\r\n", true, true},
		{"folded lines hold no field", "Subject: x\r\n Date: y\r\n\tFrom: z\r\n\r\n", 0, "", "Subject: x\r\n Date: y\r\n\tFrom: z\r\n\r\n", true, true},
		{"empty", "", 0, "", "", false, false},
		{"no header", "\r\nReceived: x\r\n", 0, "", "\r\n", true, true},
		{"header only", "Date: x\r\n", 0, "d", "Date: x\r\n", false, false},
		{"no line end", "Date: x", 0, "d", "Date: x", false, false},
		{"no field", "Date: x\r\nhello world\r\nFrom: y\r\n", 0, "d", "Date: x\r\n", true, false},
		{"no colon", "Date: x\r\nhello\r\nFrom: y\r\n", 0, "d", "Date: x\r\n", true, false},
		{"mbox line", "From a@b Sat Nov 21 22:58:52 2026\r\nDate: x\r\n", 0, "", "", true, false},
		{"name is empty", ": x\r\nDate: y\r\n", 0, "", "", true, false},
		{"starts folded", " Date: x\r\nDate: y\r\n", 0, "", "", true, false},
		{"beyond ASCII", "Date: x\r\nD\xc3\xa4te: y\r\n", 0, "d", "Date: x\r\n", true, false},
		{"bare LF", "Date: x\nFrom: y\n\nReceived: z\n", 0, "df", "Date: x\nFrom: y\n\n", true, true},
		{"CR alone", "Date: x\r\n\rReceived: z\r\n", 0, "d", "Date: x\r\n", true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(50) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				if seed == 0 {
					rnd = nil // in one piece
				}
				h := scanIn(tt.message, rnd, 4096)
				has := ""
				for _, f := range []struct {
					set  bool
					mark string
				}{{h.HasDate, "d"}, {h.HasFrom, "f"}, {h.HasMessageID, "m"}} {
					if f.set {
						has += f.mark
					}
				}
				if h.Received != tt.received || has != tt.has || h.Ended != tt.ended || h.Ended && h.NoBlank == tt.blank {
					t.Fatalf("seed %d: received %d, has %q, ended %v, no blank %v", seed, h.Received, has, h.Ended, h.NoBlank)
				}
				if string(h.Kept()) != tt.header || h.Size != int64(len(tt.header)) || h.Truncated {
					t.Fatalf("seed %d: kept %q, size %d, truncated %v", seed, h.Kept(), h.Size, h.Truncated)
				}
			}
		})
	}
}

func TestHeaderScanKeepsNoMore(t *testing.T) {
	message := "Subject: " + strings.Repeat("x", 100) + "\r\n\r\nbody"
	for keep := range 130 {
		h := scanIn(message, nil, keep)
		want := message[:len(message)-len("body")]
		if h.Truncated != (keep < len(want)) || string(h.Kept()) != want[:min(keep, len(want))] {
			t.Fatalf("keep %d: %q, truncated %v", keep, h.Kept(), h.Truncated)
		}
	}
	if h := scanIn(message, nil, -1); h.Kept() != nil || h.Truncated || h.Size != 113 {
		t.Errorf("without Keep: %q, %v, %d", h.Kept(), h.Truncated, h.Size)
	}
}

func TestHeaderScanAllocates(t *testing.T) {
	message := []byte(benchMessage())
	keep := make([]byte, 0, 8192)
	if n := testing.AllocsPerRun(100, func() {
		var h HeaderScan
		h.Keep(keep)
		h.Write(message)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzHeaderScan(f *testing.F) {
	f.Add("Received: a\r\n\tb\r\nDate: d\r\n\r\nbody", uint64(1))
	f.Add("Date : x\nhello\r\n\rz", uint64(2))
	f.Fuzz(func(t *testing.T, message string, seed uint64) {
		whole := scanIn(message, nil, 1<<20)
		cut := scanIn(message, rand.New(rand.NewPCG(seed, 1)), 1<<20)
		if !bytes.Equal(whole.Kept(), cut.Kept()) {
			t.Fatalf("in one piece %q, in chunks %q", whole.Kept(), cut.Kept())
		}
		if !strings.HasPrefix(message, string(whole.Kept())) || int64(len(whole.Kept())) != whole.Size {
			t.Fatalf("kept %q of %q, size %d", whole.Kept(), message, whole.Size)
		}
		a, b := *whole, *cut
		a.keep, b.keep = nil, nil
		a.name, b.name = [maxFieldName]byte{}, [maxFieldName]byte{}
		if a.Received != b.Received || a.HasDate != b.HasDate || a.HasFrom != b.HasFrom || a.HasMessageID != b.HasMessageID ||
			a.Ended != b.Ended || a.NoBlank != b.NoBlank || a.Size != b.Size {
			t.Fatalf("in one piece %+v, in chunks %+v", a, b)
		}
		if !whole.Ended && whole.Size != int64(len(message)) {
			t.Fatal("not ended, but not read to the end")
		}
	})
}

func benchMessage() string {
	return strings.Repeat("Received: from helo.example by mx.example.net with ESMTP\r\n\tfor <b@example.net>; Sat, 21 Nov 2026 22:58:52 +0000\r\n", 4) +
		"Date: x\r\nFrom: y\r\nMessage-ID: <z@example.com>\r\nSubject: " + strings.Repeat("x", 60) + "\r\n\r\n" +
		strings.Repeat(strings.Repeat("b", 76)+"\r\n", 128)
}

func BenchmarkHeaderScan(b *testing.B) {
	message := []byte(benchMessage())
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		var h HeaderScan
		h.Write(message)
		if h.Received != 4 {
			b.Fatal(h)
		}
	}
}
