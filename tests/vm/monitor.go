package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Event is an event of the machine that QEMU reports: SHUTDOWN, RESET, STOP, WATCHDOG, ...
type Event struct {
	At   time.Time // when it was received
	Name string
	Data json.RawMessage
}

// monitor is a connection to QEMU's monitor (QMP).
type monitor struct {
	conn    net.Conn
	version string
	done    chan struct{} // closed at the end of the connection

	mu      sync.Mutex
	next    int
	waiting map[int]chan response
	events  []Event
	news    chan struct{} // closed and replaced at each event
}

// response is QEMU's response to a command.
type response struct {
	Return json.RawMessage
	Error  *struct{ Class, Desc string }
}

// errGone reports that QEMU has ended.
var errGone = errors.New("QEMU has ended")

// newMonitor completes the QMP handshake with QEMU within the limit.
func newMonitor(ctx context.Context, conn net.Conn, limit time.Duration) (*monitor, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m := &monitor{conn: conn, done: make(chan struct{}), waiting: make(map[int]chan response), news: make(chan struct{})}
	greeted := make(chan string, 1)
	go func() {
		defer close(m.done)
		m.read(greeted)
	}()
	select {
	case m.version = <-greeted:
	case <-m.done:
		return nil, errGone
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("QEMU's monitor does not greet within %s", limit), m.close())
	}
	if err := m.do(ctx, "qmp_capabilities", nil, nil); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

func (m *monitor) close() error {
	err := m.conn.Close()
	<-m.done
	return err
}

// read processes QEMU's messages until the connection ends.
func (m *monitor) read(greeted chan<- string) {
	lines := bufio.NewScanner(m.conn)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		at := time.Now()
		var line struct {
			QMP *struct {
				Version struct {
					QEMU    struct{ Major, Minor, Micro int }
					Package string
				}
			}
			Event string
			Data  json.RawMessage
			ID    *int
			response
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		switch {
		case line.QMP != nil:
			v := line.QMP.Version
			greeted <- fmt.Sprintf("%d.%d.%d %s", v.QEMU.Major, v.QEMU.Minor, v.QEMU.Micro, v.Package)
		case line.Event != "":
			m.mu.Lock()
			m.events = append(m.events, Event{At: at, Name: line.Event, Data: line.Data})
			close(m.news)
			m.news = make(chan struct{})
			m.mu.Unlock()
		case line.ID != nil:
			m.mu.Lock()
			if c := m.waiting[*line.ID]; c != nil {
				c <- line.response
				delete(m.waiting, *line.ID)
			}
			m.mu.Unlock()
		}
	}
}

// do makes QEMU execute a command and decodes its result into into; nil ignores it.
func (m *monitor) do(ctx context.Context, command string, arguments, into any) error {
	m.mu.Lock()
	m.next++
	id, answer := m.next, make(chan response, 1)
	m.waiting[id] = answer
	m.mu.Unlock()
	request := map[string]any{"execute": command, "id": id}
	if arguments != nil {
		request["arguments"] = arguments
	}
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("monitor: %s: %w", command, err)
	}
	if err := m.conn.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return fmt.Errorf("monitor: %s: %w", command, err)
	}
	if _, err := m.conn.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("monitor: %s: %w", command, err)
	}
	var got response
	select {
	case got = <-answer:
	case <-m.done:
		return fmt.Errorf("monitor: %s: %w", command, errGone)
	case <-ctx.Done():
		return fmt.Errorf("monitor: %s: %w", command, ctx.Err())
	}
	if got.Error != nil {
		return fmt.Errorf("monitor: %s: %s", command, got.Error.Desc)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(got.Return, into)
}

// await waits for an event after the first n.
func (m *monitor) await(ctx context.Context, n int, name string) (Event, error) {
	for {
		m.mu.Lock()
		events, news := m.events, m.news
		m.mu.Unlock()
		for ; n < len(events); n++ {
			if events[n].Name == name {
				return events[n], nil
			}
		}
		select {
		case <-news:
		case <-m.done:
			m.mu.Lock()
			more := len(m.events) > n
			m.mu.Unlock()
			if !more {
				return Event{}, errGone
			}
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// happened returns the events so far.
func (m *monitor) happened() []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events[:len(m.events):len(m.events)]
}
