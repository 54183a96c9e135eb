package anycast

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Limits on one reply. Real banners and EHLO replies are far smaller; whatever sends more is not
// anymx-edge.
const (
	maxReplyLine  = 1024 // bytes with CRLF; RFC 5321 4.5.3.1.5 has 512
	maxReplyLines = 64
	maxReplyText  = 120 // bytes that are quoted in the reason
)

// reply is an SMTP reply (RFC 5321 4.2): its code, and the text of its last line, shortened and
// free of terminal control characters.
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

// readReply reads one reply of any number of lines, within the limits above. r's buffer has at
// least maxReplyLine bytes.
func readReply(r *bufio.Reader) (reply, error) {
	var first int
	for n := range maxReplyLines {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull), err == nil && len(line) > maxReplyLine:
			return reply{}, fmt.Errorf("a line of more than %d bytes", maxReplyLine)
		case errors.Is(err, io.EOF) && (len(line) > 0 || n > 0):
			return reply{}, fmt.Errorf("connection closed within a reply: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return reply{}, err
		}
		code, text, last, ok := parseReplyLine(line)
		switch {
		case !ok:
			return reply{}, fmt.Errorf("%s is not an SMTP reply", printable(line))
		case n > 0 && code != first:
			return reply{}, fmt.Errorf("a reply with both %d and %d", first, code)
		case last:
			return reply{code, text}, nil
		}
		first = code
	}
	return reply{}, fmt.Errorf("a reply of more than %d lines", maxReplyLines)
}

// parseReplyLine parses one line: "250-text", "250 text" or "250".
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

// printable quotes the beginning of what a server sent.
func printable(b []byte) string {
	return strconv.QuoteToASCII(string(b[:min(len(b), maxReplyText)]))
}
