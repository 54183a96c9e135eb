package mail

import "strconv"

// Enhanced is an enhanced status code, class.subject.detail (RFC 3463). The
// zero Enhanced is "none".
type Enhanced [3]int

// String is "5.1.1", and "" for none.
func (e Enhanced) String() string {
	if e == (Enhanced{}) {
		return ""
	}
	return string(e.AppendTo(nil))
}

// AppendTo appends String to b.
func (e Enhanced) AppendTo(b []byte) []byte {
	if e == (Enhanced{}) {
		return b
	}
	for i, n := range e {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return b
}

// Reply is what an SMTP server answers (RFC 5321 section 4.2). The zero Reply
// is none: the other side said nothing.
type Reply struct {
	Code     int
	Enhanced Enhanced
	Text     string // lines joined by "\n", without codes
}

// Positive is a 2xx or 3xx.
func (r Reply) Positive() bool { return r.Code >= 200 && r.Code < 400 }

// Transient is a 4xx: trying again may help.
func (r Reply) Transient() bool { return r.Code >= 400 && r.Code < 500 }

// Permanent is a 5xx: trying again as it is will not help.
func (r Reply) Permanent() bool { return r.Code >= 500 && r.Code < 600 }

// String is the reply on one line, with nothing in it that could break the
// line: "550 5.1.1 no such user".
func (r Reply) String() string {
	if r.Code == 0 {
		return ""
	}
	b := make([]byte, 0, 16+len(r.Text))
	b = strconv.AppendInt(b, int64(r.Code), 10)
	if r.Enhanced != (Enhanced{}) {
		b = r.Enhanced.AppendTo(append(b, ' '))
	}
	if r.Text != "" {
		b = appendClean(append(b, ' '), r.Text, true)
	}
	return string(b)
}
