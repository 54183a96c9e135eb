package maillog

import (
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"anymx/edge/mail"
)

// line builds one line, as logfmt or as JSON. Keys and events are trusted; text, reply and address
// write untrusted values.
type line struct {
	b     []byte
	json  bool
	first bool // the next key is the first on its line
}

// maxText bounds an untrusted value, in bytes.
const maxText = 512

func (ln *line) startLine(now time.Time, event string) {
	if ln.json {
		ln.b = append(ln.b, '{')
	}
	ln.first = true
	ln.time("time", now)
	ln.text("event", event)
}

func (ln *line) endLine() {
	if ln.json {
		ln.b = append(ln.b, '}')
	}
	ln.b = append(ln.b, '\n')
}

func (ln *line) key(key string) {
	if !ln.first {
		if ln.json {
			ln.b = append(ln.b, ',')
		} else {
			ln.b = append(ln.b, ' ')
		}
	}
	ln.first = false
	if ln.json {
		ln.b = append(append(append(ln.b, '"'), key...), '"', ':')
		return
	}
	ln.b = append(append(ln.b, key...), '=')
}

// quotes writes the quote around a value that is a string in JSON and a plain word in logfmt.
func (ln *line) quotes() {
	if ln.json {
		ln.b = append(ln.b, '"')
	}
}

func (ln *line) text(key, value string) {
	ln.key(key)
	value = cut(value)
	if !ln.json && value != "" && isWord(value) {
		ln.b = append(ln.b, value...)
		return
	}
	ln.b = append(appendEscaped(append(ln.b, '"'), value), '"')
}

// cut shortens value to maxText without splitting a rune.
func cut(value string) string {
	if len(value) <= maxText {
		return value
	}
	n := maxText
	for n > maxText-utf8.UTFMax && !utf8.RuneStart(value[n]) {
		n--
	}
	return value[:n]
}

// isWord reports whether value needs no quotes in logfmt and no escapes in JSON.
func isWord[T string | []byte](value T) bool {
	for i := 0; i < len(value); i++ {
		if c := value[i]; c <= ' ' || c == '"' || c == '\\' || c == '=' || c >= 0x7f {
			return false
		}
	}
	return true
}

// appendEscaped appends value escaped as in a JSON string, which logfmt readers understand too.
// Everything that could end a line or change its direction is escaped, and invalid UTF-8 is
// replaced.
func appendEscaped(b []byte, value string) []byte {
	for i := 0; i < len(value); {
		c := value[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
			i++
		case c == '\n': // occurs in replies
			b = append(b, '\\', 'n')
			i++
		case c >= ' ' && c < 0x7f:
			b = append(b, c)
			i++
		default:
			r, n := utf8.DecodeRuneInString(value[i:])
			if !unicode.IsPrint(r) || r == utf8.RuneError {
				b = appendRune(b, r)
			} else {
				b = append(b, value[i:i+n]...)
			}
			i += n
		}
	}
	return b
}

// appendRune appends r as \u and four digits, or as a surrogate pair.
func appendRune(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	if r > 0xffff {
		r -= 0x10000
		b = appendRune(b, 0xd800+r>>10)
		r = 0xdc00 + r&0x3ff
	}
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}

func (ln *line) number(key string, n int64) {
	ln.key(key)
	ln.b = strconv.AppendInt(ln.b, n, 10)
}

func (ln *line) time(key string, t time.Time) {
	ln.key(key)
	ln.quotes()
	ln.b = t.UTC().AppendFormat(ln.b, "2006-01-02T15:04:05.000Z")
	ln.quotes()
}

// duration writes d in seconds, with microseconds.
func (ln *line) duration(key string, d time.Duration) {
	ln.key(key)
	ln.b = strconv.AppendFloat(ln.b, d.Seconds(), 'f', 6, 64)
}

func (ln *line) id(key string, id mail.ID) {
	ln.key(key)
	ln.quotes()
	ln.b = id.AppendTo(ln.b)
	ln.quotes()
}

func (ln *line) addr(key string, addr netip.Addr) {
	ln.key(key)
	ln.quotes()
	ln.b = addr.WithZone("").AppendTo(ln.b)
	ln.quotes()
}

// address writes p, which is empty for the null reverse-path. Most addresses need no escapes and
// are written in place.
func (ln *line) address(key string, p mail.Path) {
	whole := len(ln.b)
	first := ln.first
	ln.key(key)
	ln.quotes()
	start := len(ln.b)
	ln.b = p.AppendTo(ln.b)
	if written := ln.b[start:]; len(written) == 0 || len(written) > maxText || !isWord(written) {
		ln.b, ln.first = ln.b[:whole], first
		ln.text(key, p.String())
		return
	}
	ln.quotes()
}

// reply writes a server's reply on one line.
func (ln *line) reply(key string, r mail.Reply) {
	if r.Code == 0 {
		ln.text(key, "")
		return
	}
	ln.key(key)
	ln.b = append(ln.b, '"')
	ln.b = strconv.AppendInt(ln.b, int64(r.Code), 10)
	if r.Enhanced != (mail.Enhanced{}) {
		ln.b = r.Enhanced.AppendTo(append(ln.b, ' '))
	}
	if r.Text != "" {
		ln.b = appendEscaped(append(ln.b, ' '), cut(r.Text))
	}
	ln.b = append(ln.b, '"')
}

func (ln *line) recipient(env *mail.Envelope, rcpt, attempt int) {
	ln.id("id", env.ID)
	if rcpt >= 0 && rcpt < len(env.Recipients) {
		ln.address("to", env.Recipients[rcpt].Path)
	}
	ln.number("attempt", int64(attempt))
}

func (ln *line) why(f *mail.Failure) {
	if f != nil {
		ln.text("why", f.Error())
	}
}

func (ln *line) client(c *mail.Client) {
	if !c.Addr.IsValid() {
		return
	}
	ln.addr("client", c.Addr.Addr())
	if c.Helo != "" {
		ln.text("helo", c.Helo)
	}
	if c.Proto != "" {
		ln.text("proto", c.Proto)
	}
	if c.TLS != "" {
		ln.text("tls", c.TLS)
	}
}
