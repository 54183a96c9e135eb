package smtpd

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// text is a message of about size bytes in lines as people's programs write
// them, without dots at their start.
func text(size int) string {
	line := strings.Repeat("0123456789abcdef ", 5)[:76] + "\r\n"
	return "Subject: a message\r\n\r\n" + strings.Repeat(line, size/len(line))
}

// benchClient is a connection that has said EHLO.
type benchClient struct {
	net.Conn
	r *bufio.Reader
}

func dialBench(b *testing.B, addr string, withTLS bool) *benchClient {
	b.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	c := &benchClient{conn, bufio.NewReader(conn)}
	if withTLS {
		c.say(b, "STARTTLS\r\n", 2)
		conn := tls.Client(conn, clientTLS())
		c = &benchClient{conn, bufio.NewReader(conn)}
		c.say(b, "EHLO c.test\r\n", 1)
		return c
	}
	c.say(b, "EHLO c.test\r\n", 2)
	return c
}

// say writes and reads so many replies.
func (c *benchClient) say(b *testing.B, text string, replies int) {
	if _, err := io.WriteString(c, text); err != nil {
		b.Error(err)
		return
	}
	c.listen(b, replies)
}

func (c *benchClient) listen(b *testing.B, replies int) {
	for replies > 0 {
		line, err := c.r.ReadSlice('\n')
		if err != nil || line[0] == '4' || line[0] == '5' {
			b.Errorf("%q, %v", line, err)
			return
		}
		if line[3] == ' ' {
			replies--
		}
	}
}

const benchEnvelope = "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@mx.test>\r\n"

// sendData sends n messages, each envelope in one write with the message
// before.
func (c *benchClient) sendData(b *testing.B, body string, n int) {
	if n == 0 {
		return
	}
	c.say(b, benchEnvelope+"DATA\r\n", 3)
	for range n - 1 {
		c.say(b, body+".\r\n"+benchEnvelope+"DATA\r\n", 4)
	}
	c.say(b, body+".\r\n", 1)
}

// sendChunks sends n messages by BDAT, with up to sixteen on their way.
func (c *benchClient) sendChunks(b *testing.B, body string, n int) {
	one := fmt.Sprintf(benchEnvelope+"BDAT %d LAST\r\n", len(body)) + body
	window := make(chan struct{}, 16)
	var reader sync.WaitGroup
	reader.Go(func() {
		for range n {
			c.listen(b, 3)
			<-window
		}
	})
	for range n {
		window <- struct{}{}
		if _, err := io.WriteString(c, one); err != nil {
			b.Error(err)
			break
		}
	}
	reader.Wait()
}

// receive has clients send b.N messages to a server process, and reports what
// they cost that.
func receive(b *testing.B, clients int, withTLS bool, send func(c *benchClient, n int)) {
	p := startProcess(b)
	conns := make([]*benchClient, clients)
	for i := range conns {
		conns[i] = dialBench(b, p.addr, withTLS)
		defer conns[i].Close()
	}
	used := p.cpu()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() { send(c, (b.N+i)/clients) })
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64((p.cpu()-used).Microseconds())/float64(b.N), "server-cpu-us/msg")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}

// BenchmarkReceive10K is messages of 10 KB to a server that discards them: the
// part of wire and smtpd in all that a message costs.
func BenchmarkReceive10K(b *testing.B) {
	body := text(10 << 10)
	for _, withTLS := range []bool{false, true} {
		suffix := map[bool]string{true: " TLS"}[withTLS]
		b.Run("DATA"+suffix, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			receive(b, 4, withTLS, func(c *benchClient, n int) { c.sendData(b, body, n) })
		})
		b.Run("BDAT"+suffix, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			receive(b, 4, withTLS, func(c *benchClient, n int) { c.sendChunks(b, body, n) })
		})
	}
	b.Run("one a connection", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		p := startProcess(b)
		used := p.cpu()
		b.ResetTimer()
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for range (b.N + i) / 4 {
					c := dialBench(b, p.addr, false)
					c.sendData(b, body, 1)
					c.say(b, "QUIT\r\n", 1)
					_ = c.Close()
				}
			})
		}
		all.Wait()
		b.StopTimer()
		b.ReportMetric(float64((p.cpu()-used).Microseconds())/float64(b.N), "server-cpu-us/msg")
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	})
}

// BenchmarkReceive10M is messages of 10 MB on one connection.
func BenchmarkReceive10M(b *testing.B) {
	body := text(10 << 20)
	for _, withTLS := range []bool{false, true} {
		suffix := map[bool]string{true: " TLS"}[withTLS]
		b.Run("DATA"+suffix, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			receive(b, 1, withTLS, func(c *benchClient, n int) { c.sendData(b, body, n) })
		})
		b.Run("BDAT"+suffix, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			receive(b, 1, withTLS, func(c *benchClient, n int) { c.sendChunks(b, body, n) })
		})
	}
}
