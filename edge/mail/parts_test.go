package mail

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestCheckParts(t *testing.T) {
	many := make([]Span, MaxCuts+1)
	for i := range many {
		many[i] = Span{int64(i), int64(i) + 1}
	}
	for name, c := range map[string]struct {
		env Envelope
		ok  bool
	}{
		"nothing":             {Envelope{}, true},
		"front":               {Envelope{Front: []byte("A: b\r\n\tc\r\nD:\r\n")}, true},
		"no end":              {Envelope{Front: []byte("A: b")}, false},
		"bare LF":             {Envelope{Front: []byte("A: b\nC: d\r\n")}, false},
		"bare CR":             {Envelope{Front: []byte("A: b\rC: d\r\n")}, false},
		"end of header":       {Envelope{Front: []byte("A: b\r\n\r\n")}, true},
		"beyond the header":   {Envelope{Front: []byte("A: b\r\n\r\n\r\n")}, false},
		"field after its end": {Envelope{Front: []byte("A: b\r\n\r\nC: d\r\n")}, false},
		"white line":          {Envelope{Front: []byte("A: b\r\n \r\n")}, false},
		"folded first":        {Envelope{Front: []byte(" A: b\r\n")}, false},
		"no name":             {Envelope{Front: []byte(": b\r\n")}, false},
		"no field":            {Envelope{Front: []byte("A: b\r\nhello\r\n")}, false},
		"space in name":       {Envelope{Front: []byte("A b: c\r\n")}, false},
		"UTF-8":               {Envelope{Front: []byte("A: ü\r\n")}, false},
		"long line":           {Envelope{Front: []byte("A: " + strings.Repeat("b", 996) + "\r\n")}, false},
		"long front":          {Envelope{Front: bytes.Repeat([]byte("A: b\r\n"), MaxFront/6+1)}, false},
		"cuts":                {Envelope{Cuts: []Span{{0, 1}, {1, 2}, {9, 10}}}, true},
		"all":                 {Envelope{Cuts: []Span{{0, 10}}}, true},
		"beyond the end":      {Envelope{Cuts: []Span{{9, 11}}}, false},
		"overlap":             {Envelope{Cuts: []Span{{0, 3}, {2, 4}}}, false},
		"not sorted":          {Envelope{Cuts: []Span{{4, 5}, {0, 1}}}, false},
		"empty":               {Envelope{Cuts: []Span{{4, 4}}}, false},
		"negative":            {Envelope{Cuts: []Span{{-1, 4}}}, false},
		"too many":            {Envelope{Cuts: many}, false},
		"tags":                {Envelope{Tags: []string{"dnsbl.example", "x=1"}, Route: "quarantine"}, true},
		"empty tag":           {Envelope{Tags: []string{""}}, false},
		"tag of two words":    {Envelope{Tags: []string{"a b"}}, false},
		"tag of two lines":    {Envelope{Tags: []string{"a\r\nb"}}, false},
		"too many tags":       {Envelope{Tags: slices.Repeat([]string{"a"}, MaxTags+1)}, false},
		"long tag":            {Envelope{Tags: []string{strings.Repeat("a", MaxTag+1)}}, false},
		"route of two words":  {Envelope{Route: "a b"}, false},
	} {
		body := int64(10)
		if name == "too many" {
			body = 1 << 20
		}
		if err := c.env.CheckParts(body); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSize(t *testing.T) {
	env := Envelope{Front: []byte("A: b\r\n"), Cuts: []Span{{0, 2}, {5, 9}}}
	env.SetSize(100)
	if env.Size != 100 {
		t.Errorf("%d bytes, want 100: six more, six less", env.Size)
	}
	env.Cuts = nil
	if env.SetSize(100); env.Size != 106 || env.BodySize() != 100 {
		t.Errorf("%d bytes for a body of %d, want 106 for 100", env.Size, env.BodySize())
	}
}

// Whatever a field is, it can't end the header, or become part of another field.
func FuzzAppendField(f *testing.F) {
	for _, field := range []string{"X-Spam: yes", "X: a\r\n\tb", "X: a\r\nY: b", "X: a\r\n\r\nb", "X: a\n.\n", " X: a", "", "X: \xff"} {
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		before := []byte("Received: x\r\n")
		front, ok := AppendField(before, field)
		if !ok {
			if !bytes.Equal(front, before) {
				t.Errorf("%q was refused, and the front became %q", field, front)
			}
			return
		}
		if want := string(before) + field + "\r\n"; string(front) != want {
			t.Errorf("%q, want %q", front, want)
		}
		var h Header
		if h.Write(front); h.Ended || h.Count("received") < 1 || !isASCII(string(front)) {
			t.Errorf("%q is not a header", front)
		}
		env := Envelope{Front: front}
		if err := env.CheckParts(0); err != nil {
			t.Error(err)
		}
	})
}

func TestAppendFieldIsBounded(t *testing.T) {
	var front []byte
	n := 0
	for ok := true; ok; n++ {
		front, ok = AppendField(front, "X-Long: "+strings.Repeat("x", 900))
	}
	if len(front) > MaxFront || len(front) < MaxFront-1000 || n < 70 {
		t.Errorf("%d fields of %d bytes", n, len(front))
	}
}
