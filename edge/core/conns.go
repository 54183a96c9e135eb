package core

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// conns are the open connections of a server.
type conns struct {
	max int

	mu   sync.Mutex
	open map[*conn]struct{}
	gone chan struct{} // receives when a connection ends
}

func newConns(max int) *conns {
	return &conns{max: max, open: make(map[*conn]struct{}), gone: make(chan struct{}, 1)}
}

// add reports whether there was room for c.
func (cs *conns) add(c *conn) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if len(cs.open) >= cs.max {
		return false
	}
	cs.open[c] = struct{}{}
	return true
}

func (cs *conns) remove(c *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.open, c)
	select {
	case cs.gone <- struct{}{}:
	default:
	}
}

func (cs *conns) list() (all []*conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.open {
		all = append(all, c)
	}
	return all
}

// close tells everybody to go, waits until they have or until ctx ends, and cuts those that are left.
// It returns how many were cut.
func (cs *conns) close(ctx context.Context) (cut int) {
	for {
		all := cs.list()
		if len(all) == 0 {
			return 0
		}
		for _, c := range all {
			c.leave()
		}
		select {
		case <-cs.gone:
		case <-ctx.Done():
			all = cs.list()
			for _, c := range all {
				_ = c.Conn.Close() // its own goroutine sees it, and ends
			}
			return len(all)
		}
	}
}

// listener gives go-smtp connections within the limit.
type listener struct {
	net.Listener
	server *Server
}

// Accept returns the next connection for which there is room.
func (l listener) Accept() (net.Conn, error) {
	for {
		sock, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := newConn(sock, l.server)
		if l.server.conns.add(c) {
			return c, nil
		}
		_ = sock.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(sock, "421 4.7.0 "+l.server.options.Hostname+" too many connections, try again later\r\n")
		_ = sock.Close()
	}
}
