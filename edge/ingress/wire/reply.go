package wire

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"anymx/edge/mail"
)

var outPool = sync.Pool{New: func() any { b := make([]byte, 0, smallBuffer); return &b }}

// maxOut is how much is gathered before it is sent although there is more to read, and the largest
// buffer that is kept for the next user, in bytes.
const maxOut = 16 << 10

// Reply adds a reply. It is sent by Flush, or before ReadCommand waits for the client. A line end in
// its text makes a reply of several lines. Other control characters, if some client's word should
// have got there, can't break the line.
func (c *Conn) Reply(r mail.Reply) {
	if c.out == nil {
		c.out = outPool.Get().(*[]byte)
	}
	*c.out = appendReply(*c.out, r)
}

// appendReply appends r with its line ends.
func appendReply(b []byte, r mail.Reply) []byte {
	for text := r.Text; ; {
		line, rest, more := strings.Cut(text, "\n")
		b = strconv.AppendInt(b, int64(r.Code), 10)
		if more {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if r.Enhanced != (mail.Enhanced{}) {
			b = append(r.Enhanced.AppendTo(b), ' ')
		}
		for i := 0; i < len(line); i++ {
			if line[i] < ' ' || line[i] == 0x7f {
				b = append(b, '?')
			} else {
				b = append(b, line[i])
			}
		}
		b = append(b, '\r', '\n')
		if !more {
			return b
		}
		text = rest
	}
}

func (c *Conn) outLen() int {
	if c.out == nil {
		return 0
	}
	return len(*c.out)
}

func (c *Conn) putOut() {
	if c.out != nil && cap(*c.out) <= maxOut {
		*c.out = (*c.out)[:0]
		outPool.Put(c.out)
	}
	c.out = nil
}

// Flush sends all that was gathered in one write. If it can't, it ends the connection.
func (c *Conn) Flush() error {
	if c.outLen() == 0 {
		return nil
	}
	err := c.sock.SetWriteDeadline(time.Now().Add(orDefault(c.settings.Limits.WriteTimeout, time.Minute)))
	switch {
	case err != nil: // closed
	case c.tls != nil:
		_, err = c.tls.Write(*c.out)
	default:
		_, err = c.sock.Write(*c.out)
	}
	c.stats.Out += int64(c.outLen())
	c.putOut()
	switch {
	case isTimeout(err):
		c.End("timeout")
	case err != nil:
		c.End("disconnect")
	}
	return err
}
