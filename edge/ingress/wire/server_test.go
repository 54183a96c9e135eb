package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"anymx/edge/mail"
	"anymx/tests/kit"

	"github.com/emersion/go-smtp"
)

const hostname = "mx.test"

// server is go-smtp behind wire on a real socket, with a backend that records.
type server struct {
	t        testing.TB
	addr     string
	registry *Registry
	smtp     *smtp.Server
	backend  *backend
	writes   atomic.Int64 // calls of Write on the server's sockets
	closed   chan Stats   // of each connection that was served
	listener *Listener
	done     chan struct{}
}

// serve starts a server that ends with the test.
func serve(t testing.TB, set Settings, lmtp bool) *server {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{
		t: t, addr: inner.Addr().String(), done: make(chan struct{}),
		backend: &backend{max: set.Limits.MaxMessage}, closed: make(chan Stats, 1000),
	}
	set.Hostname = hostname
	set.Closed = func(c *Conn) {
		select {
		case s.closed <- c.Stats():
		default:
		}
	}
	s.registry = NewRegistry(Options{Settings: set})
	s.smtp = newSMTP(s.backend)
	s.smtp.LMTP = lmtp
	s.listener = s.registry.Listen(countingListener{inner, &s.writes})
	go func() {
		defer close(s.done)
		_ = s.smtp.Serve(s.listener)
	}()
	t.Cleanup(s.stop)
	return s
}

func newSMTP(b smtp.Backend) *smtp.Server {
	s := smtp.NewServer(b)
	s.Domain = hostname
	s.MaxLineLength = 0
	s.EnableSMTPUTF8 = true
	s.EnableDSN = true
	s.ErrorLog = log.New(io.Discard, "", 0) // panics are meant
	return s
}

// goSMTP is what newSMTP's server says to EHLO, as TestLearn holds.
const goSMTP = "250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250-SMTPUTF8\r\n250-DSN\r\n250 SIZE\r\n"

// openLobby makes the listener know what it else learns from its first client.
func (s *server) openLobby() { s.listener.learn(goSMTP, s.smtp.LMTP) }

// TestLearn holds that the lobby says what go-smtp says.
func TestLearn(t *testing.T) {
	for _, lmtp := range []bool{false, true} {
		s := serve(t, Settings{TLS: serverTLS(), Extensions: func(*Conn) []string { return []string{"XTEST"} }}, lmtp)
		greet := "EHLO c.test\r\n"
		if lmtp {
			greet = "LHLO c.test\r\n"
		}
		var said [2]string
		for i := range said {
			conn, err := net.Dial("tcp", s.addr)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "NOOP\r\nRSET\r\n"+greet[:4]+"\r\n"+greet+"RSET\r\nQUIT\r\n"); err != nil {
				t.Fatal(err)
			}
			all, err := io.ReadAll(conn)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			said[i] = string(all)
		}
		if said[0] != said[1] {
			t.Errorf("go-smtp says %q, the lobby %q", said[0], said[1])
		}
		if d := s.listener.dialect.Load(); d == nil || *d != (dialect{goSMTP, lmtp}) {
			t.Errorf("learned %+v", d)
		}
	}
}

// stop ends the server, and fails the test if a connection stays.
func (s *server) stop() {
	_ = s.listener.Close()
	<-s.done
	s.settled(0)
}

// settled waits until n connections are open.
func (s *server) settled(n int) {
	s.t.Helper()
	kit.Eventually(s.t, fmt.Sprintf("%d connections are open", n), func() bool { return s.registry.Open() == n })
	if n == 0 {
		s.registry.caps.mu.Lock()
		defer s.registry.caps.mu.Unlock()
		if len(s.registry.caps.by) != 0 {
			s.t.Errorf("prefixes still counted: %v", s.registry.caps.by)
		}
	}
}

type countingListener struct {
	net.Listener
	writes *atomic.Int64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	conn := c.(*net.TCPConn)
	_ = conn.SetWriteBuffer(64 << 10) // so that it is full soon, also on a slow machine
	return &countingConn{conn, l.writes}, nil
}

type countingConn struct {
	*net.TCPConn
	writes *atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.TCPConn.Write(p)
}

// backend records what is delivered. What a session does depends on the local
// parts of the addresses; see Rcpt and data.
type backend struct {
	max int64

	mu        sync.Mutex
	delivered []delivery
}

type delivery struct {
	from string
	to   []string
	body []byte
}

func (b *backend) NewSession(c *smtp.Conn) (smtp.Session, error) {
	s := session{b: b, wire: c.Conn().(*Conn)}
	s.wire.Attach(&s)
	if c.Server().LMTP {
		return &lmtpSession{s}, nil
	}
	return &s, nil
}

// next takes the oldest delivery that was not taken.
func (b *backend) next() (delivery, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.delivered) == 0 {
		return delivery{}, false
	}
	d := b.delivered[0]
	b.delivered = b.delivered[1:]
	return d, true
}

type session struct {
	b    *backend
	wire *Conn
	open bool
	from string
	to   []string
}

func (s *session) Reset()        { s.open, s.from, s.to = false, "", nil }
func (s *session) Logout() error { return nil }

func refusal(code, class, subject, detail int, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail}, Message: text}
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.open {
		return refusal(503, 5, 5, 1, "sender is known already")
	}
	s.open, s.from = true, from
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	switch local, _, _ := strings.Cut(to, "@"); local {
	case "refused":
		return refusal(550, 5, 1, 1, "no such user")
	case "slow":
		s.wire.Delay(30 * time.Millisecond)
		return refusal(550, 5, 1, 1, "no such user")
	case "bye":
		s.wire.Answer(mail.Reply{Code: 421, Enhanced: mail.Enhanced{4, 7, 0}, Text: "enough of you"})
		return refusal(421, 4, 7, 0, "")
	case "verbose":
		s.wire.Answer(mail.Reply{Code: 250, Enhanced: mail.Enhanced{2, 1, 5}, Text: "taken\nwith pleasure"})
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(io.Reader) error { return s.data() }

func (s *session) data() error {
	w := &sink{left: -1}
	if s.b.max > 0 {
		w.left = s.b.max
	}
	switch local, _, _ := strings.Cut(s.to[0], "@"); local {
	case "unread":
		return refusal(451, 4, 3, 0, "can't take it now")
	case "delayed":
		s.wire.Delay(30 * time.Millisecond)
		return refusal(451, 4, 3, 0, "can't take it now")
	case "late":
		s.wire.Delay(30 * time.Millisecond)
	case "panic":
		panic("as asked for")
	case "tight":
		w.left = 10
	}
	if _, err := s.wire.Body().WriteTo(w); err != nil {
		return transferError(err)
	}
	s.b.mu.Lock()
	s.b.delivered = append(s.b.delivered, delivery{s.from, s.to, w.Bytes()})
	s.b.mu.Unlock()
	s.wire.Answer(mail.Reply{Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: "stored"})
	return nil
}

func transferError(err error) error {
	switch {
	case errors.Is(err, errFull):
		return refusal(552, 5, 3, 4, "too big")
	case errors.Is(err, ErrSlow):
		return refusal(421, 4, 4, 2, err.Error())
	case errors.Is(err, ErrAborted), errors.Is(err, ErrGone):
		return refusal(451, 4, 4, 2, err.Error())
	}
	return refusal(554, 5, 6, 0, err.Error())
}

var errFull = errors.New("sink is full")

// sink keeps left octets, or all where left is negative.
type sink struct {
	bytes.Buffer
	left int64
}

func (w *sink) Write(p []byte) (int, error) {
	if w.left >= 0 {
		if w.left -= int64(len(p)); w.left < 0 {
			return 0, errFull
		}
	}
	return w.Buffer.Write(p)
}

// lmtpSession gives "refused-late" a result of its own.
type lmtpSession struct{ session }

func (s *lmtpSession) LMTPData(_ io.Reader, status smtp.StatusCollector) error {
	err := s.data()
	s.wire.Answer(mail.Reply{}) // a reply for each recipient, not one
	for _, to := range s.to {
		if strings.HasPrefix(to, "refused-late@") && err == nil {
			status.SetStatus(to, refusal(550, 5, 2, 2, "mailbox full"))
		} else {
			status.SetStatus(to, err)
		}
	}
	return nil
}

// certificate is made once for all tests.
var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{hostname},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func serverTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate()}}
}

func clientTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: hostname}
}

var loopback = netip.MustParsePrefix("127.0.0.0/8")
