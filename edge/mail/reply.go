package mail

import "strconv"

// Enhanced is an enhanced status code, class.subject.detail (RFC 3463). The zero Enhanced means
// that there is no code.
type Enhanced [3]int

// String returns the code, such as "5.1.1", or "" if there is none.
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

// Reply is a reply of an SMTP server (RFC 5321 section 4.2). The zero Reply means that there was no
// reply.
type Reply struct {
	ID       string // of a reply of our own: its row in docs/replies.md
	Code     int
	Enhanced Enhanced
	Text     string // lines joined by "\n", without codes
}

// Positive reports whether r is a 2xx or 3xx.
func (r Reply) Positive() bool { return r.Code >= 200 && r.Code < 400 }

// Transient reports whether r is a 4xx: another attempt may succeed.
func (r Reply) Transient() bool { return r.Code >= 400 && r.Code < 500 }

// Permanent reports whether r is a 5xx: another attempt can't succeed.
func (r Reply) Permanent() bool { return r.Code >= 500 && r.Code < 600 }

// String returns the reply on one line, such as "550 5.1.1 no such user". Control characters become
// spaces.
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
