package maillog

import (
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"

	"anymx/edge/mail"
)

// line is one line in the making, as logfmt or as JSON.
type line struct {
	b    []byte
	json bool
}

// maxText bounds a value that came from outside.
const maxText = 512

func (ln *line) begin(now time.Time, event string) {
	if ln.json {
		ln.b = append(ln.b, '{')
	}
	ln.time("time", now)
	ln.text("event", event)
}

func (ln *line) end() {
	if ln.json {
		ln.b = append(ln.b, '}')
	}
	ln.b = append(ln.b, '\n')
}

func (ln *line) key(key string) {
	if n := len(ln.b); n > 0 && ln.b[n-1] != '\n' && ln.b[n-1] != '{' {
		if ln.json {
			ln.b = append(ln.b, ',')
		} else {
			ln.b = append(ln.b, ' ')
		}
	}
	if ln.json {
		ln.b = append(append(append(ln.b, '"'), key...), '"', ':')
		return
	}
	ln.b = append(append(ln.b, key...), '=')
}

func (ln *line) text(key, value string) {
	ln.key(key)
	if len(value) > maxText {
		value = value[:maxText]
	}
	switch {
	case plain(value) && ln.json:
		ln.b = append(append(append(ln.b, '"'), value...), '"')
	case plain(value) && value != "":
		ln.b = append(ln.b, value...)
	case ln.json:
		quoted, _ := json.Marshal(value) // a string always marshals
		ln.b = append(ln.b, quoted...)
	default:
		ln.b = strconv.AppendQuote(ln.b, value)
	}
}

// plain says whether value can stand without quotes and escapes.
func plain(value string) bool {
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c <= ' ', c == '"', c == '\\', c == '=', c >= 0x7f, c == '<', c == '>', c == '&':
			return false
		}
	}
	return utf8.ValidString(value)
}

func (ln *line) number(key string, n int64) {
	ln.key(key)
	ln.b = strconv.AppendInt(ln.b, n, 10)
}

func (ln *line) time(key string, t time.Time) {
	ln.key(key)
	if ln.json {
		ln.b = append(ln.b, '"')
	}
	ln.b = t.UTC().AppendFormat(ln.b, "2006-01-02T15:04:05.000Z")
	if ln.json {
		ln.b = append(ln.b, '"')
	}
}

// duration is in seconds, to the microsecond.
func (ln *line) duration(key string, d time.Duration) {
	ln.key(key)
	ln.b = strconv.AppendFloat(ln.b, d.Seconds(), 'f', 6, 64)
}

func (ln *line) id(key string, id mail.ID) {
	ln.key(key)
	if ln.json {
		ln.b = append(id.AppendTo(append(ln.b, '"')), '"')
		return
	}
	ln.b = id.AppendTo(ln.b)
}

// address is empty for the null reverse-path.
func (ln *line) address(key string, p mail.Path) { ln.text(key, p.String()) }

func (ln *line) recipient(env *mail.Envelope, rcpt, attempt int) {
	ln.id("id", env.ID)
	if rcpt >= 0 && rcpt < len(env.Recipients) {
		ln.address("to", env.Recipients[rcpt].Path)
	}
	ln.number("attempt", int64(attempt))
}

func (ln *line) client(c *mail.Client) {
	if !c.Addr.IsValid() {
		return
	}
	ln.key("client")
	if ln.json {
		ln.b = append(ln.b, '"')
	}
	ln.b = c.Addr.Addr().AppendTo(ln.b)
	if ln.json {
		ln.b = append(ln.b, '"')
	}
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
