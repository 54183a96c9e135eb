package node

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// fakeCore is a core that refuses what a test wants it to refuse, which a real core can't do on
// demand. Everything else is real.
type fakeCore struct {
	address  string
	messages chan stored
	later    atomic.Bool  // defer every recipient
	put      atomic.Int64 // number of deferred recipients
}

type stored struct{ from, to, text string }

// scriptedCore rejects one recipient permanently and accepts all others.
func scriptedCore(t *testing.T, refused string) *fakeCore {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	core := &fakeCore{address: l.Addr().String(), messages: make(chan stored, 100)}
	var sessions sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			sessions.Go(func() { core.session(conn, refused) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for conn := range open {
			_ = conn.Close()
		}
		mu.Unlock()
		sessions.Wait()
	})
	return core
}

func (f *fakeCore) session(conn net.Conn, refused string) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	say := func(line string) { fmt.Fprint(conn, line+"\r\n") }
	say("220 core.example ready")
	var m stored
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, arg, _ := strings.Cut(line, ":")
		switch {
		case strings.HasPrefix(line, "EHLO"):
			say("250-core.example\r\n250 PIPELINING")
		case verb == "MAIL FROM":
			m = stored{from: strings.Fields(arg)[0]}
			say("250 2.1.0 ok")
		case verb == "RCPT TO" && strings.Contains(arg, refused):
			say("550 5.1.1 no such mailbox")
		case verb == "RCPT TO" && f.later.Load():
			f.put.Add(1)
			say("450 4.2.1 not now")
		case verb == "RCPT TO":
			m.to = strings.Fields(arg)[0]
			say("250 2.1.5 ok")
		case line == "DATA" && m.to == "":
			say("503 5.5.1 no recipient")
		case line == "DATA":
			say("354 go ahead")
			var text strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				text.WriteString(line)
			}
			m.text = text.String()
			f.messages <- m
			say("250 2.0.0 stored")
		case line == "QUIT":
			say("221 bye")
			return
		default:
			say("250 2.0.0 ok")
		}
	}
}
