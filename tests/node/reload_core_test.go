package node

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// watchedCore is a core at two addresses that records what it receives and can stall at a command.
type watchedCore struct {
	address, other string

	mu    sync.Mutex
	heard []string // "ADDRESS LINE", "ADDRESS open", "ADDRESS gone"
	stall string   // verb that gets no reply; "." means the end of a message
	open  map[net.Conn]bool
}

func watchCore(t *testing.T) *watchedCore {
	t.Helper()
	w := &watchedCore{open: map[net.Conn]bool{}}
	w.address, w.other = w.listen(t, "one"), w.listen(t, "two")
	return w
}

func (w *watchedCore) listen(t *testing.T, name string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			w.mu.Lock()
			w.open[conn] = true
			w.mu.Unlock()
			sessions.Go(func() { w.session(conn, name) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		w.behave("")
		sessions.Wait()
	})
	return l.Addr().String()
}

// behave makes the core stall at a verb and closes all connections. With "open", it also closes new
// ones.
func (w *watchedCore) behave(stall string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stall = stall
	for conn := range w.open {
		_ = conn.Close()
	}
}

func (w *watchedCore) note(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, line)
}

func (w *watchedCore) stalls(verb string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stall != "" && w.stall == verb
}

// mark returns the current position in the record; since returns what followed it.
func (w *watchedCore) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.heard)
}

func (w *watchedCore) since(mark int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.heard[mark:], "\n") + "\n"
}

// await waits until text was received since mark, and reports whether it was.
func (w *watchedCore) await(mark int, text string, limit time.Duration) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if strings.Contains(w.since(mark), text) {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func (w *watchedCore) session(conn net.Conn, name string) {
	defer func() {
		_ = conn.Close()
		w.mu.Lock()
		delete(w.open, conn)
		w.mu.Unlock()
		w.note(name + " gone")
	}()
	w.note(name + " open")
	if w.stalls("open") {
		return
	}
	r := bufio.NewReader(conn)
	say := func(line string) { fmt.Fprint(conn, line+"\r\n") }
	say("220 core.example ready")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		w.note(name + " " + line)
		verb, _, _ := strings.Cut(line, " ")
		if w.stalls(verb) {
			continue
		}
		switch verb {
		case "EHLO", "LHLO":
			say("250-core.example\r\n250-XFORWARD NAME ADDR PROTO HELO IDENT SOURCE\r\n250 PIPELINING")
		case "DATA":
			say("354 go ahead")
			for line = ""; line != ".\r\n"; {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
				w.note(name + " > " + strings.TrimRight(line, "\r\n"))
			}
			if !w.stalls(".") {
				say("250 2.0.0 stored")
			}
		case "QUIT":
			say("221 bye")
			return
		case "RCPT":
			if strings.Contains(line, "gone@") {
				say("550 5.1.1 no such mailbox")
			} else {
				say("250 2.1.5 ok")
			}
		default:
			say("250 2.0.0 ok")
		}
	}
}
