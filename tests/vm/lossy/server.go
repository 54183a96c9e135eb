package lossy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
)

// Server exports a disk to clients on a unix socket.
type Server struct {
	disk     *Disk
	listener *net.UnixListener
	accepted sync.WaitGroup // the accepting goroutine

	mu     sync.Mutex
	conns  map[net.Conn]chan struct{} // closed when none of its requests is in progress
	closed bool
}

// Serve starts serving a disk on a new unix socket, until Close.
func Serve(disk *Disk, socket string) (*Server, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("disk server: %w", err)
	}
	s := &Server{disk: disk, listener: l, conns: make(map[net.Conn]chan struct{})}
	s.accepted.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // closed
			}
			if !s.enter(conn) {
				_ = conn.Close()
				return
			}
		}
	})
	return s, nil
}

// Socket returns the path of the unix socket.
func (s *Server) Socket() string { return s.listener.Addr().String() }

func (s *Server) enter(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	done := make(chan struct{})
	s.conns[conn] = done
	go func() {
		defer close(done)
		// Clients are expected to break off, so the error is ignored.
		_ = s.serve(conn)
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	return true
}

// Disconnect closes all connections and waits until no request is in progress. Then the next
// machine may connect.
func (s *Server) Disconnect() {
	s.mu.Lock()
	conns := maps.Clone(s.conns)
	s.mu.Unlock()
	for conn := range conns {
		_ = conn.Close()
	}
	for _, done := range conns {
		<-done
	}
}

// PowerCut calls Disconnect and then Disk.PowerCut. Kill the machine first, or it sees disk errors.
func (s *Server) PowerCut(seed uint64) (Cut, error) {
	s.Disconnect()
	return s.disk.PowerCut(seed)
}

// Close stops the server and removes the socket. The disk stays open.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.listener.Close()
	s.accepted.Wait()
	s.Disconnect()
	return err
}

// serve handles requests one by one, so a flush covers everything that was answered before it.
func (s *Server) serve(conn net.Conn) error {
	r := bufio.NewReaderSize(conn, 256<<10)
	w := bufio.NewWriterSize(conn, 256<<10)
	if err := handshake(struct {
		io.Reader
		io.Writer
	}{r, conn}, s.disk.Size()); err != nil {
		return err
	}
	head, buffer := make([]byte, requestSize), []byte(nil)
	for {
		if r.Buffered() == 0 { // the client waits for replies
			if err := w.Flush(); err != nil {
				return err
			}
		}
		if _, err := io.ReadFull(r, head); err != nil {
			return err
		}
		q, err := parseRequest(head)
		if err != nil {
			return err
		}
		if q.command == commandLeave {
			return w.Flush()
		}
		if need := q.length; need <= longest && need > int64(cap(buffer)) && (q.command == commandWrite || q.command == commandRead) {
			buffer = make([]byte, need)
		}
		if q.command == commandWrite {
			if _, err := io.ReadFull(r, buffer[:q.length]); err != nil {
				return err
			}
		}
		read, errno := s.do(q, buffer)
		if _, err := w.Write(reply(head, q.cookie, errno)); err != nil {
			return err
		}
		if _, err := w.Write(read); err != nil {
			return err
		}
	}
}

// do executes a request. buffer has the data to write, or receives the data read.
func (s *Server) do(q request, buffer []byte) (read []byte, errno uint32) {
	sure := q.flags&commandFUA != 0
	var err error
	switch q.command {
	case commandRead:
		if q.length > longest {
			return nil, errnoInvalid
		}
		if _, err = s.disk.ReadAt(buffer[:q.length], q.at); err == nil {
			return buffer[:q.length], 0
		}
	case commandWrite:
		_, err = s.disk.write(buffer[:q.length], q.at, sure)
	case commandFlush:
		s.disk.Flush()
	case commandTrim, commandZero: // trimmed data reads as zeros
		err = s.disk.Zero(q.at, q.length, sure)
	default:
		return nil, errnoInvalid
	}
	switch {
	case err == nil:
		return nil, 0
	case errors.Is(err, errOutside):
		return nil, errnoInvalid
	}
	return nil, errnoIO
}
