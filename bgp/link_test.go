package bgp

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	packet "github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

func TestLinkKeepsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		l := newLink(near, &traffic{})

		// A message counts when all of it is there, however slowly it comes.
		go func() {
			for _, octet := range keepalive {
				_, _ = far.Write([]byte{octet})
				time.Sleep(400 * time.Millisecond)
			}
		}()
		if kind, _, err := l.read(9 * time.Second); kind != packet.BGP_MSG_KEEPALIVE || err != nil {
			t.Errorf("a message that takes 7.2 s: type %d, %v", kind, err)
		}
		go func() { _, _ = far.Write(keepalive[:18]) }()
		start := time.Now()
		_, _, err := l.read(9 * time.Second)
		var n *Notification
		if took := time.Since(start); !errors.As(err, &n) || n.Code != packet.BGP_ERROR_HOLD_TIMER_EXPIRED || took != 9*time.Second {
			t.Errorf("a message that never ends: %v after %s", err, took)
		}

		start = time.Now()
		if err := l.write(9*time.Second, keepalive); err == nil || time.Since(start) != 9*time.Second {
			t.Errorf("a peer that reads nothing: %v after %s", err, time.Since(start))
		}
		near.Close()
	})
}

func TestInterruptFreesBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		defer near.Close()
		l := newLink(near, &traffic{})
		read, written := make(chan time.Duration, 1), make(chan time.Duration, 1)
		start := time.Now()
		go func() { _, _, _ = l.read(time.Hour); read <- time.Since(start) }()
		go func() { _ = l.write(time.Hour, keepalive); written <- time.Since(start) }()
		synctest.Wait()
		l.interrupt()
		if took := <-read; took != 0 {
			t.Errorf("the read went on for %s", took)
		}
		if took := <-written; took != grace {
			t.Errorf("the write went on for %s", took)
		}
		// What begins afterwards is as short.
		start = time.Now()
		if _, _, err := l.read(time.Hour); err == nil || time.Since(start) != 0 {
			t.Errorf("a read behind it: %v after %s", err, time.Since(start))
		}
		if err := l.write(time.Hour, keepalive); err == nil || time.Since(start) != grace {
			t.Errorf("a write behind it: %v after %s", err, time.Since(start))
		}
	})
}

// The NOTIFICATION arrives even if the peer has sent what nobody has read, and
// the connection is not kept for a peer that does not close it.
func TestCloseLeavesTheLastWord(t *testing.T) {
	for name, closes := range map[string]bool{"peer that closes": true, "peer that does not": false} {
		t.Run(name, func(t *testing.T) {
			r := newRaw(t, "127.0.0.3")
			conn, err := net.Dial("tcp", r.l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			peer, err := r.l.AcceptTCP()
			if err != nil {
				t.Fatal(err)
			}
			defer peer.Close()
			c := &rawConn{peer, t}
			c.send(make([]byte, 100_000))
			l := newLink(conn, &traffic{})
			ended := make(chan struct{})
			go func() { l.close(cease(ceaseShutdown)); close(ended) }()
			kind, body, err := c.read()
			if err != nil || kind != packet.BGP_MSG_NOTIFICATION || *parseNotification(body).plain() != *cease(ceaseShutdown).plain() {
				t.Errorf("type %d % x, %v", kind, body, err)
			}
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("behind it: %v", err)
			}
			if closes {
				c.Close()
			}
			<-ended
		})
	}
}

// plain is a Notification's codes, comparable.
func (n *Notification) plain() *[2]uint8 { return &[2]uint8{n.Code, n.Subcode} }

// Codes that no RFC knows are counted as one.
func TestNotificationsAreCountedByCode(t *testing.T) {
	var d direction
	for _, code := range []byte{packet.BGP_ERROR_CEASE, packet.BGP_ERROR_HOLD_TIMER_EXPIRED, packet.BGP_ERROR_CEASE, 8, 255} {
		d.count(packet.BGP_MSG_NOTIFICATION, []byte{code, 0}, headerSize+2)
	}
	d.count(packet.BGP_MSG_KEEPALIVE, nil, headerSize)
	want := MessageCounters{Notifications: 5, Keepalives: 1, Bytes: 6*headerSize + 10}
	want.ByCode[packet.BGP_ERROR_CEASE], want.ByCode[packet.BGP_ERROR_HOLD_TIMER_EXPIRED], want.ByCode[0] = 2, 1, 2
	if got := d.counters(); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}
