package anycast

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// What a server may say in one reply. Real banners and EHLO replies are far
// smaller; who says more is not the program that is asked.
const (
	maxReplyLine  = 1024 // octets with CRLF; RFC 5321 4.5.3.1.5 has 512
	maxReplyLines = 64
	maxReplyText  = 120 // octets that are kept for the reason
)

// reply is an SMTP reply (RFC 5321 4.2): its code, and the text of its last
// line, cut and with nothing in it that a terminal obeys.
type reply struct {
	code int
	text string
}

func (r reply) String() string {
	if r.text == "" {
		return strconv.Itoa(r.code)
	}
	return strconv.Itoa(r.code) + " " + r.text
}

// readReply reads one reply of any number of lines, within the bounds above. r's
// buffer has at least maxReplyLine octets.
func readReply(r *bufio.Reader) (reply, error) {
	var first int
	for n := range maxReplyLines {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > maxReplyLine:
			return reply{}, fmt.Errorf("a line of more than %d octets", maxReplyLine)
		case errors.Is(err, io.EOF) && (len(line) > 0 || n > 0):
			return reply{}, fmt.Errorf("the connection ends within a reply: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return reply{}, err
		}
		code, text, last, ok := parseReplyLine(line)
		switch {
		case !ok:
			return reply{}, fmt.Errorf("%s is no SMTP reply", printable(line))
		case n > 0 && code != first:
			return reply{}, fmt.Errorf("a reply of both %d and %d", first, code)
		case last:
			return reply{code, text}, nil
		}
		first = code
	}
	return reply{}, fmt.Errorf("a reply of more than %d lines", maxReplyLines)
}

// parseReplyLine takes one line apart: "250-text", "250 text" or "250".
func parseReplyLine(line []byte) (code int, text string, last, ok bool) {
	for len(line) > 0 && (line[len(line)-1] == '\n' || line[len(line)-1] == '\r') {
		line = line[:len(line)-1]
	}
	if len(line) < 3 {
		return 0, "", false, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, "", false, false
		}
		code = 10*code + int(c-'0')
	}
	rest := line[3:]
	switch {
	case code < 200 || code > 599:
		return 0, "", false, false
	case len(rest) == 0:
		return code, "", true, true
	case rest[0] != ' ' && rest[0] != '-':
		return 0, "", false, false
	}
	quoted := printable(rest[1:])
	return code, quoted[1 : len(quoted)-1], rest[0] == ' ', true
}

// printable is the beginning of what a server said, quoted.
func printable(b []byte) string {
	return strconv.QuoteToASCII(string(b[:min(len(b), maxReplyText)]))
}
