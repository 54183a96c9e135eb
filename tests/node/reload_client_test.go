package node

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// connect opens a connection and reads nothing from it.
func (r *reloaded) connect() (net.Conn, *bufio.Reader) {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.pop.SMTP)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn, bufio.NewReader(conn)
}

// reply returns all lines of a reply, or "closed" or "silent" if none arrives within the window.
func (r *reloaded) reply(conn net.Conn, in *bufio.Reader) string {
	_ = conn.SetReadDeadline(time.Now().Add(max(r.window, time.Second)))
	var all strings.Builder
	for {
		line, err := in.ReadString('\n')
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "silent"
		case err != nil:
			return "closed"
		}
		all.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return all.String()
		}
	}
}

// talk sends lines one by one and returns all replies, including the banner.
func (r *reloaded) talk(lines ...string) []string {
	r.t.Helper()
	conn, in := r.connect()
	replies := []string{r.reply(conn, in)}
	for _, line := range lines {
		fmt.Fprint(conn, line+"\r\n")
		replies = append(replies, r.reply(conn, in))
	}
	return replies
}

// says observes the codes of the replies to lines, after a greeting.
func says(lines ...string) func(*reloaded) string {
	return func(r *reloaded) string {
		var codes []string
		for _, reply := range r.talk(append([]string{"EHLO a.example"}, lines...)...)[2:] {
			codes = append(codes, reply[:3])
		}
		return strings.Join(codes, " ")
	}
}

// data observes the code of the reply to a message.
func data(text string) func(*reloaded) string {
	return func(r *reloaded) string {
		replies := r.talk("EHLO a.example", "MAIL FROM:<>", "RCPT TO:<a@example.net>", "DATA", text+"\r\n.")
		return replies[len(replies)-1][:3]
	}
}
