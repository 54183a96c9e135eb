package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// unstuff reverts dot-stuffing line by line (RFC 5321 section 4.5.2).
func unstuff(wire []byte) []byte {
	var out []byte
	for line := range bytes.Lines(wire) {
		out = append(out, bytes.TrimPrefix(line, []byte("."))...)
	}
	return out
}

func TestMessageHasItsSize(t *testing.T) {
	shortest := 0
	for size := 400; size < 900; size++ {
		m, err := newMessage(size)
		if err != nil {
			shortest = size + 1
			continue
		}
		checkMessage(t, m, size)
	}
	if shortest < 410 || shortest > 890 {
		t.Errorf("shortest message is %d bytes: the sizes tried do not meet the limit", shortest)
	}
	for _, size := range []int{smallSize, 1_000_000} {
		m, err := newMessage(size)
		if err != nil {
			t.Fatal(err)
		}
		checkMessage(t, m, size)
		if !bytes.Contains(m.body, []byte("\r\n..")) {
			t.Errorf("message of %d bytes has no line that starts with a dot", size)
		}
	}
}

func checkMessage(t *testing.T, m *message, size int) {
	t.Helper()
	plain := unstuff(m.wire(nil, 4711))
	if len(plain) != size {
		t.Errorf("message of %d bytes has %d", size, len(plain))
	}
	if _, body, _ := bytes.Cut(plain, []byte("\r\n\r\n")); len(body) != m.content {
		t.Errorf("message of %d bytes has a body of %d, says %d", size, len(body), m.content)
	}
	if !bytes.Contains(plain, []byte("Message-ID: <0000004711.load@")) {
		t.Errorf("message of %d bytes has not its number: %.400q", size, plain)
	}
	if bytes.Count(plain, []byte("\n")) != bytes.Count(plain, []byte("\r\n")) || !bytes.HasSuffix(plain, []byte("\r\n")) {
		t.Errorf("message of %d bytes has a line end that is not CRLF", size)
	}
	for line := range strings.Lines(string(m.wire(nil, 1))) {
		if len(line) > lineLength+3 {
			t.Errorf("line of %d bytes: %q", len(line), line)
		}
		if line == endDot {
			t.Error("end dot inside the message")
		}
	}
}

func TestMessageKeepsItsTemplate(t *testing.T) {
	m, err := newMessage(smallSize)
	if err != nil {
		t.Fatal(err)
	}
	first := string(m.wire(nil, 1))
	m.wire(nil, 2)
	if again := string(m.wire([]byte("before"), 1)); again != "before"+first {
		t.Error("a message with another number changed the template")
	}
}

func TestRecipientID(t *testing.T) {
	for _, c := range []struct {
		line string
		id   uint64
		ok   bool
	}{
		{"RCPT TO:<r0000000042@example.net>", 42, true},
		{"rcpt to:<r9999999999@example.net> NOTIFY=NEVER", 9999999999, true},
		{"RCPT TO:<r000000004@example.net>", 0, false},
		{"RCPT TO:<postmaster@example.net>", 0, false},
		{"RCPT TO:<r1>", 0, false},
		{"RCPT TO:", 0, false},
	} {
		if id, ok := recipientID([]byte(c.line)); id != c.id || ok != c.ok {
			t.Errorf("%s: got %d %v, want %d %v", c.line, id, ok, c.id, c.ok)
		}
	}
	for _, id := range []uint64{0, 1, 1234567, 9999999999} {
		group := string(appendGroup(nil, id, 99))
		if want := fmt.Sprintf("RCPT TO:<r%010d@example.net>\r\nDATA\r\n", id); !strings.HasSuffix(group, want) {
			t.Errorf("group %q does not end in %q", group, want)
		}
	}
}
