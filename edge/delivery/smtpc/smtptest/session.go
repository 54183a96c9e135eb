package smtptest

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// session is one connection.
type session struct {
	s      *Server
	conn   net.Conn // the TLS connection after STARTTLS
	raw    net.Conn
	r      *bufio.Reader
	w      *bufio.Writer
	number int
	steps  int
	tls    bool

	mail, forward, client string
	rcpts                 []string
	body                  []byte
	chunked               bool
}

func newSession(s *Server, conn net.Conn, number int) *session {
	return &session{s: s, conn: conn, raw: conn, number: number, r: bufio.NewReader(conn), w: bufio.NewWriter(conn)}
}

func (x *session) run() {
	if !x.step("CONNECT", "", "220 smtptest ready") {
		return
	}
	for {
		if x.r.Buffered() == 0 && x.w.Flush() != nil {
			return
		}
		line, err := x.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, arg, _ := strings.Cut(line, " ")
		if !x.command(strings.ToUpper(verb), line, arg) {
			_ = x.w.Flush()
			return
		}
	}
}

// step asks the hook, replies, and reports whether the session continues.
func (x *session) step(verb, line, ordinary string) bool {
	return x.act(x.ask(verb, line, 0), ordinary)
}

func (x *session) ask(verb, line string, rcpt int) Action {
	n := x.steps
	x.steps++
	if x.s.Hook == nil {
		return Action{}
	}
	return x.s.Hook(Step{Conn: x.number, N: n, Verb: verb, Line: line, Rcpt: rcpt})
}

// act replies, and reports whether the session continues.
func (x *session) act(a Action, ordinary string) bool {
	reply := ordinary
	if a.Reply != "" {
		reply = a.Reply
	}
	if a.Close || a.Reset {
		reply = a.Reply
	}
	if reply != "" {
		x.w.WriteString(reply)
		x.w.WriteString("\r\n")
	}
	x.w.WriteString(a.Raw)
	if a.Close || a.Reset {
		_ = x.w.Flush()
		if tcp, ok := x.raw.(*net.TCPConn); ok && a.Reset {
			_ = tcp.SetLinger(0)
		}
		return false
	}
	return true
}

// isPositive reports whether the reply of an action is positive.
func isPositive(a Action) bool {
	return a.Reply == "" && !a.Close && !a.Reset || a.Reply != "" && (a.Reply[0] == '2' || a.Reply[0] == '3')
}

func (x *session) command(verb, line, arg string) bool {
	switch verb {
	case "EHLO", "LHLO", "HELO":
		return x.hello(verb, line)
	case "STARTTLS":
		return x.startTLS(line)
	case "XFORWARD":
		a := x.ask(verb, line, 0)
		if isPositive(a) {
			x.forward = strings.TrimSpace(x.forward + " " + arg)
		}
		return x.act(a, "250 2.0.0 Ok")
	case "XCLIENT":
		a := x.ask(verb, line, 0)
		if isPositive(a) {
			x.reset()
			x.client = arg
		}
		return x.act(a, "220 smtptest ready")
	case "RSET":
		x.reset()
		return x.step(verb, line, "250 2.0.0 Ok")
	case "MAIL":
		if script := x.s.takeScript(); script != nil {
			return x.playScript(script, line)
		}
		a := x.ask(verb, line, 0)
		if x.mail != "" {
			return x.act(a, "503 5.5.1 nested MAIL")
		}
		if isPositive(a) {
			x.mail = strings.TrimPrefix(arg, "FROM:")
		}
		return x.act(a, "250 2.1.0 Ok")
	case "RCPT":
		a := x.ask(verb, line, 0)
		if x.mail == "" {
			return x.act(a, "503 5.5.1 MAIL first")
		}
		if isPositive(a) {
			x.rcpts = append(x.rcpts, strings.TrimPrefix(arg, "TO:"))
		}
		return x.act(a, "250 2.1.5 Ok")
	case "DATA":
		return x.data(line)
	case "BDAT":
		return x.bdat(line, arg)
	case "QUIT":
		x.step(verb, line, "221 2.0.0 Bye")
		return false
	case "NOOP":
		return x.step(verb, line, "250 2.0.0 Ok")
	}
	return x.act(Action{}, "500 5.5.2 what?")
}

func (x *session) reset() {
	x.mail, x.forward, x.rcpts, x.body, x.chunked = "", "", nil, nil, false
}

func (x *session) hello(verb, line string) bool {
	if x.s.LMTP != (verb == "LHLO") {
		return x.step("EHLO", line, "500 5.5.1 wrong protocol")
	}
	x.reset()
	lines := []string{"smtptest"}
	if verb != "HELO" {
		for _, e := range x.s.Extensions {
			if e != "STARTTLS" || !x.tls {
				lines = append(lines, e)
			}
		}
	}
	var b strings.Builder
	for i, l := range lines {
		if i < len(lines)-1 {
			fmt.Fprintf(&b, "250-%s\r\n", l)
		} else {
			fmt.Fprintf(&b, "250 %s", l)
		}
	}
	return x.step("EHLO", line, b.String())
}

func (x *session) startTLS(line string) bool {
	a := x.ask("STARTTLS", line, 0)
	if !x.act(a, "220 2.0.0 go ahead") {
		return false
	}
	if !isPositive(a) {
		return true
	}
	if x.w.Flush() != nil {
		return false
	}
	conn := tls.Server(x.raw, x.s.TLS)
	if conn.Handshake() != nil {
		return false
	}
	x.conn, x.tls = conn, true
	x.r, x.w = bufio.NewReader(conn), bufio.NewWriter(conn)
	x.reset()
	return true
}

func (x *session) data(line string) bool {
	a := x.ask("DATA", line, 0)
	ordinary := "354 go ahead"
	if len(x.rcpts) == 0 {
		ordinary = "503 5.5.1 RCPT first"
	}
	if !x.act(a, ordinary) {
		return false
	}
	if a.Reply == "" && len(x.rcpts) == 0 || a.Reply != "" && a.Reply[0] != '3' {
		return true
	}
	if x.w.Flush() != nil {
		return false
	}
	body := x.ask("BODY", "", 0)
	if body.Close || body.Reset {
		return x.breakOff(body, -1)
	}
	for {
		line, err := x.r.ReadSlice('\n')
		for err == bufio.ErrBufferFull {
			x.keep(line)
			line, err = x.r.ReadSlice('\n')
		}
		switch {
		case err != nil:
			return false
		case string(line) == ".\r\n":
			return x.end()
		case line[0] == '.' && (len(x.body) == 0 || x.body[len(x.body)-1] == '\n'):
			line = line[1:]
		}
		x.keep(line)
	}
}

// keep keeps part of a body; with Discard only its last byte, which tells where lines begin.
func (x *session) keep(p []byte) {
	if x.s.Discard && len(p) > 0 {
		x.body = append(x.body[:0], p[len(p)-1])
		return
	}
	x.body = append(x.body, p...)
}

func (x *session) bdat(line, arg string) bool {
	size, last, _ := strings.Cut(arg, " ")
	n, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return x.act(Action{}, "501 5.5.4 bad chunk size")
	}
	if a := x.ask("BODY", line, 0); a.Close || a.Reset {
		return x.breakOff(a, n)
	}
	x.chunked = true
	if x.s.Discard {
		_, err = io.CopyN(io.Discard, x.r, n)
	} else {
		b := make([]byte, n)
		_, err = io.ReadFull(x.r, b)
		x.body = append(x.body, b...)
	}
	switch {
	case err != nil:
		return false
	case len(x.rcpts) == 0:
		x.body = nil
		return x.step("END", line, "503 5.5.1 RCPT first")
	case !strings.EqualFold(last, "LAST"):
		return x.step("CHUNK", line, "250 2.0.0 Ok")
	}
	return x.end()
}

// breakOff reads After bytes, at most limit, and ends the connection.
func (x *session) breakOff(a Action, limit int64) bool {
	n := a.After
	if limit >= 0 {
		n = min(n, limit)
	}
	_, _ = io.CopyN(io.Discard, x.r, n)
	return x.act(a, "")
}

// end replies to the message and keeps it for each accepted recipient.
func (x *session) end() bool {
	defer x.reset()
	rcpts := x.rcpts
	if !x.s.LMTP {
		a := x.ask("END", "", 0)
		if isPositive(a) {
			x.s.store(x.message(rcpts))
		}
		return x.act(a, "250 2.0.0 Ok")
	}
	for i, rcpt := range rcpts {
		a := x.ask("END", "", i)
		if isPositive(a) {
			x.s.store(x.message([]string{rcpt}))
		}
		if !x.act(a, "250 2.0.0 "+rcpt+" Ok") {
			return false
		}
	}
	return true
}

func (x *session) message(to []string) Message {
	m := Message{Conn: x.number, From: x.mail, To: to, XForward: x.forward, XClient: x.client, Chunked: x.chunked, TLS: x.tls}
	if !x.s.Discard {
		m.Body = append([]byte(nil), x.body...)
	}
	return m
}
