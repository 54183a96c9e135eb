package smtpc

import (
	"bytes"
	"io"
	"unicode"
	"unicode/utf8"

	"anymx/edge/mail"
)

// Limits for a server's replies, in bytes. RFC 5321 section 4.5.3.1.5 allows 512 octets for a line;
// real servers send more.
const (
	maxReplyLine  = 2048     // of one line, including CRLF
	maxReplyLines = 256      // lines in one reply
	maxReplySize  = 32 << 10 // of one reply
	maxReplyText  = 512      // of the text that is kept
	readBuffer    = 2 * maxReplyLine
)

// Errors of a stream that is not SMTP. After any of them the connection is dead.
const (
	errReplyLine  = protocolError("reply line longer than 2,048 bytes")
	errReplyLines = protocolError("reply with more than 256 lines or 32 KiB")
	errReplyForm  = protocolError("malformed reply line")
	errReplyCode  = protocolError("reply with different codes on its lines")
	errReplyEnd   = protocolError("reply line does not end in CRLF")
	errReplyUnfit = protocolError("reply does not fit the command")
	errUnasked    = protocolError("unexpected reply")
	errInjected   = protocolError("plaintext after the reply to STARTTLS")
)

// reply is one reply. Its text is bounded, clean, and valid until the next reply is read.
type reply struct {
	code     int
	enhanced mail.Enhanced
	text     []byte
}

func (r *reply) positive() bool { return r.code >= 200 && r.code < 300 }
func (r *reply) negative() bool { return r.code >= 400 }

// mail returns a copy of r that stays valid.
func (r *reply) mail() mail.Reply {
	return mail.Reply{Code: r.code, Enhanced: r.enhanced, Text: string(r.text)}
}

// replies splits a byte stream into replies.
type replies struct {
	src  io.Reader
	buf  []byte // nil between messages; else readBuffer long
	r, w int    // buf[r:w] is read but not yet parsed
	text []byte // scratch of at most maxReplyText octets, inside buf's allocation
}

// buffered returns the number of bytes that were received but not yet parsed.
func (rr *replies) buffered() int { return rr.w - rr.r }

// next reads one reply. each, if not nil, is called with every line as received, without its code
// and line end. The slice is only valid during the call.
func (rr *replies) next(each func(line []byte)) (reply, error) {
	var rep reply
	size := 0
	rr.text = rr.text[:0]
	for n := 0; ; n++ {
		line, err := rr.line()
		if err != nil {
			return reply{}, err
		}
		if size += len(line); n >= maxReplyLines || size > maxReplySize {
			return reply{}, errReplyLines
		}
		code, rest, last, err := parseReplyLine(line)
		if err != nil {
			return reply{}, err
		}
		if n == 0 {
			rep.code = code
		} else if code != rep.code {
			return reply{}, errReplyCode
		}
		if each != nil {
			each(rest)
		}
		enhanced, text := cutEnhanced(code, rest)
		if n == 0 {
			rep.enhanced = enhanced
		} else if len(rr.text) < maxReplyText {
			rr.text = append(rr.text, '\n')
		}
		rr.text = appendClean(rr.text, text, maxReplyText)
		if last {
			rep.text = rr.text
			return rep, nil
		}
	}
}

// line returns the next line without its CRLF, valid until the next call.
func (rr *replies) line() ([]byte, error) {
	seen := 0
	for {
		if i := bytes.IndexByte(rr.buf[rr.r+seen:rr.w], '\n'); i >= 0 {
			end := rr.r + seen + i
			line := rr.buf[rr.r:end]
			rr.r = end + 1
			if len(line)+1 > maxReplyLine {
				return nil, errReplyLine
			}
			if len(line) == 0 || line[len(line)-1] != '\r' {
				return nil, errReplyEnd // RFC 5321 section 2.3.8
			}
			return line[:len(line)-1], nil
		}
		if seen = rr.buffered(); seen >= maxReplyLine {
			return nil, errReplyLine
		}
		if err := rr.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads more data. The end of the stream inside a line is io.ErrUnexpectedEOF.
func (rr *replies) fill() error {
	if rr.r > 0 {
		rr.w = copy(rr.buf, rr.buf[rr.r:rr.w])
		rr.r = 0
	}
	n, err := rr.src.Read(rr.buf[rr.w:])
	rr.w += n
	if n > 0 {
		return nil // the next read returns the error again
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// parseReplyLine parses a Reply-line of RFC 5321 section 4.2, without its CRLF. The second digit
// may be any: real servers send 571 and 579. The text may be missing together with its space, as
// the RFC asks clients to accept.
func parseReplyLine(line []byte) (code int, rest []byte, last bool, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, nil, false, errReplyForm
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, nil, true, nil
	}
	switch line[3] {
	case ' ':
		return code, line[4:], true, nil
	case '-':
		return code, line[4:], false, nil
	}
	return 0, nil, false, errReplyForm
}

// cutEnhanced splits an enhanced status code (RFC 2034 section 3) from the text of a reply. Its
// class must match the code, else it is part of the text.
func cutEnhanced(code int, text []byte) (mail.Enhanced, []byte) {
	if len(text) < 5 || text[0] != byte('0'+code/100) || text[1] != '.' || code/100 == 3 {
		return mail.Enhanced{}, text
	}
	subject, rest := cutNumber(text[2:])
	if subject < 0 || len(rest) == 0 || rest[0] != '.' {
		return mail.Enhanced{}, text
	}
	detail, rest := cutNumber(rest[1:])
	if detail < 0 || len(rest) > 0 && rest[0] != ' ' {
		return mail.Enhanced{}, text
	}
	if len(rest) > 0 {
		rest = rest[1:]
	}
	return mail.Enhanced{code / 100, subject, detail}, rest
}

// cutNumber parses one to three digits. It returns -1 if there are none, or more.
func cutNumber(b []byte) (int, []byte) {
	n, i := 0, 0
	for ; i < len(b) && isDigit(b[i]); i++ {
		if i == 3 {
			return -1, b
		}
		n = n*10 + int(b[i]-'0')
	}
	if i == 0 {
		return -1, b
	}
	return n, b[i:]
}

// turning holds the separators and direction marks that make a terminal display misleading text.
var turning = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x200e, Hi: 0x200f, Stride: 1},
	{Lo: 0x2028, Hi: 0x202e, Stride: 1},
	{Lo: 0x2066, Hi: 0x2069, Stride: 1},
}}

// appendClean appends text to dst, up to limit bytes in total and without splitting a rune. Control
// characters and invalid UTF-8 become "?".
func appendClean(dst, text []byte, limit int) []byte {
	for len(text) > 0 && len(dst) < limit {
		c := text[0]
		if c >= ' ' && c < 0x7f {
			dst, text = append(dst, c), text[1:]
			continue
		}
		r, n := utf8.DecodeRune(text)
		switch {
		case c == '\t':
			dst = append(dst, ' ')
		case r == utf8.RuneError && n <= 1, unicode.IsControl(r), unicode.Is(turning, r):
			dst = append(dst, '?')
		case len(dst)+n > limit:
			return dst
		default:
			dst = append(dst, text[:n]...)
		}
		text = text[n:]
	}
	return dst
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
