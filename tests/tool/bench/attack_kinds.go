package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The networks of the clients. Both are routed to loopback.
const (
	attackNetwork = "2001:db8:a::/48"
	goodNetwork   = "2001:db8:100::/40" // 256 /48s, one for each good client
)

// attack is one way to take what good mail needs. Its clients connect again as soon as they lose their
// connection.
type attack struct {
	name    string
	what    string // in the document
	disk    int64  // size of the system's disk in bytes; 0: that of the run's folder
	clients int
	from    func(n int) net.IP
	lines   func() string // what a client sends first
	trickle time.Duration // then a byte of a message each time; 0: nothing more
}

var attacks = []attack{
	{
		name: "envelopes", clients: 134, from: loopbackAddress, lines: longEnvelope,
		what: "134 transactions of 500 recipients with an ORCPT of 500 characters each",
	},
	{
		name: "bodies", clients: 1000, from: loopbackAddress, lines: func() string { return openBody(120 << 10) }, trickle: 5 * time.Second,
		what: "1,000 messages that stop after 120 KiB and go on with a byte in 5 s",
	},
	{
		name: "places", clients: 6000, from: addressOf48, lines: func() string { return "EHLO a.example\r\n" },
		what: "6,000 silent clients of one /48",
	},
	{
		name: "disk", clients: 40, from: loopbackAddress, lines: func() string { return openBody(30 << 20) }, trickle: 5 * time.Second, disk: 512 << 20,
		what: "40 messages that stop after 30 MiB, on a disk of 512 MiB",
	},
}

// loopbackAddress returns an address of a /24 of its own for each client.
func loopbackAddress(n int) net.IP { return net.IPv4(127, byte(10+n/250), byte(n%250), 1) }

// addressOf48 returns an address of a /64 of its own for each client, all in attackNetwork.
func addressOf48(n int) net.IP {
	ip := net.ParseIP("2001:db8:a::1")
	ip[6], ip[7] = byte(n>>8), byte(n)
	return ip
}

func longEnvelope() string {
	var b strings.Builder
	b.WriteString("EHLO a.example\r\nMAIL FROM:<a@b.example>\r\n")
	for i := range 500 {
		fmt.Fprintf(&b, "RCPT TO:<user%d@%s> ORCPT=rfc822;%s\r\n", i, recipientDomain, strings.Repeat("x", 493))
	}
	return b.String()
}

// openBody returns a transaction whose message has size bytes and no end.
func openBody(size int) string {
	return "EHLO a.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<a@" + recipientDomain + ">\r\nDATA\r\n" +
		"Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", size/100)
}

// startClients starts the clients. The channel is closed when all have ended, after ctx.
func (a *attack) startClients(ctx context.Context, address string) <-chan struct{} {
	text := a.lines()
	var clients sync.WaitGroup
	for n := range a.clients {
		clients.Go(func() {
			for ctx.Err() == nil {
				a.connect(ctx, address, n, text)
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(500+rand.IntN(1000)) * time.Millisecond):
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { clients.Wait(); close(ended) }()
	return ended
}

// connect makes one connection, and holds it for as long as the server lets it.
func (a *attack) connect(ctx context.Context, address string, n int, text string) {
	conn, err := dialFrom(ctx, a.from(n), address, 30*time.Second)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	// Who speaks before the banner or the reply to EHLO is found out at once: an attacker knows that.
	replies := bufio.NewReader(conn)
	hello, rest, _ := strings.Cut(text, "\r\n")
	if !skipReply(replies) {
		return
	}
	if _, err := io.WriteString(conn, hello+"\r\n"); err != nil || !skipReply(replies) {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, replies) // until the server has enough
	}()
	commands, body, _ := strings.Cut(rest, "DATA\r\n")
	if body != "" {
		commands += "DATA\r\n"
	}
	for _, part := range []string{commands, body} {
		if _, err := io.WriteString(conn, part); err != nil {
			return
		}
		select {
		case <-ended:
			return
		case <-time.After(200 * time.Millisecond): // for the 354
		}
	}
	for a.trickle > 0 {
		select {
		case <-ended:
			return
		case <-time.After(a.trickle):
			if _, err := io.WriteString(conn, "x"); err != nil {
				return
			}
		}
	}
	<-ended
}

// skipReply reads a reply. It reports false if the server has closed, or refused.
func skipReply(r *bufio.Reader) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil || len(line) < 4 || line[0] != '2' {
			return false
		}
		if line[3] == ' ' {
			return true
		}
	}
}

// dialFrom connects from an address that need not be configured.
func dialFrom(ctx context.Context, from net.IP, address string, patience time.Duration) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	host := "127.0.0.1"
	if from.To4() == nil {
		host = "::1"
	}
	d := net.Dialer{
		LocalAddr: &net.TCPAddr{IP: from}, Timeout: patience, KeepAlive: -1,
		Control: func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) {
				if from.To4() == nil {
					failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
				}
			})
			if err != nil {
				return err
			}
			return failed
		},
	}
	d.SetMultipathTCP(false)
	return d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
}
