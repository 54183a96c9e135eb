package main

import (
	"bytes"
	"crypto/tls"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// received is a transaction as the server saw it.
type received struct {
	from, to string
	utf8     bool
	tls      bool
	data     []byte
}

// listen starts a server that answers like any other and reports what it got.
func listen(t *testing.T, certDir string) (endpoint, <-chan received) {
	t.Helper()
	st := &state{dir: certDir}
	if _, err := st.certify(time.Now()); err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(st.file("cert.pem"), st.file("key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan received, 1)
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{conn: c, got: got}, nil
	}))
	server.ErrorLog = log.New(io.Discard, "", 0)
	server.Domain, server.EnableSMTPUTF8 = "mx.example.net", true
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l) // ends with Close
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	home := t.TempDir()
	return endpoint{host: "127.0.0.1", port: strconv.Itoa(l.Addr().(*net.TCPAddr).Port), ca: st.file("cert.pem"), home: home}, got
}

type session struct {
	conn *smtp.Conn
	got  chan<- received
	r    received
}

func (s *session) Mail(from string, o *smtp.MailOptions) error {
	_, secure := s.conn.TLSConnectionState()
	s.r = received{from: from, utf8: o.UTF8, tls: secure}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.r.to = to
	return nil
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	s.r.data = data
	s.got <- s.r
	return err
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// TestClients sends each message with each client that supports it, and compares what the server
// received.
func TestClients(t *testing.T) {
	certDir := t.TempDir()
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			if !c.can(nothing) {
				t.Skipf("%s is not installed", c.name)
			}
			to, got := listen(t, certDir)
			for _, m := range messages(time.Now()) {
				if !c.can(m.needs) {
					if c.name == "swaks" && m.needs == smtputf8 {
						continue // no version of it supports SMTPUTF8
					}
					t.Errorf("%s cannot send %q: is a package missing?", c.name, m.kind)
					continue
				}
				file := filepath.Join(t.TempDir(), "message.eml")
				if err := os.WriteFile(file, m.data, 0o600); err != nil {
					t.Fatal(err)
				}
				reply, err := c.send(t.Context(), to, m, file)
				if err != nil {
					t.Errorf("%s: %v", m.kind, err)
					continue
				}
				if reply != "250 2.0.0 OK: queued" {
					t.Errorf("%s: reply %q", m.kind, reply)
				}
				r := <-got
				if r.from != m.from || r.to != m.to {
					t.Errorf("%s: from %q to %q, want %q and %q", m.kind, r.from, r.to, m.from, m.to)
				}
				if !bytes.Equal(r.data, m.data) {
					t.Errorf("%s: %d bytes arrived, and differ from the %d sent", m.kind, len(r.data), len(m.data))
				}
				if m.needs == smtputf8 && !r.utf8 || m.needs == starttls && !r.tls {
					t.Errorf("%s: SMTPUTF8 %v, TLS %v", m.kind, r.utf8, r.tls)
				}
			}
		})
	}
}

// TestClientDistrusts holds that clients verify the certificate: one that trusts another
// certificate sends nothing.
func TestClientDistrusts(t *testing.T) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			if !c.can(starttls) {
				t.Skipf("%s with TLS is not installed", c.name)
			}
			to, got := listen(t, t.TempDir())
			other := &state{dir: t.TempDir()}
			if _, err := other.certify(time.Now()); err != nil {
				t.Fatal(err)
			}
			to.ca = other.file("cert.pem")
			m := message{kind: "starttls", from: "a@example.org", to: "b@example.net", needs: starttls, data: []byte("Subject: x\r\n\r\nx\r\n")}
			file := filepath.Join(t.TempDir(), "message.eml")
			if err := os.WriteFile(file, m.data, 0o600); err != nil {
				t.Fatal(err)
			}
			if reply, err := c.send(t.Context(), to, m, file); err == nil {
				t.Errorf("reply %q, want an error", reply)
			}
			if len(got) > 0 {
				t.Error("the message arrived")
			}
		})
	}
}

func TestCurlFeatures(t *testing.T) {
	const debian12 = "curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1 OpenSSL/3.0.19\nProtocols: dict smtp smtps telnet\nFeatures: alt-svc SSL UnixSockets\n"
	for _, tt := range []struct {
		out  string
		what need
		want bool
	}{
		{debian12, nothing, true},
		{debian12, smtputf8, true},
		{debian12, starttls, true},
		{"curl 7.64.0 x\nProtocols: smtp\nFeatures: SSL\n", smtputf8, false},
		{"curl 8.14.1 x\nProtocols: smtp\nFeatures: IPv6\n", starttls, false},
		{"curl 8.14.1 x\nProtocols: http https\nFeatures: SSL\n", nothing, false},
		{"", nothing, false},
	} {
		if got := curlFeatures(tt.out, tt.what); got != tt.want {
			t.Errorf("%q can %d: %v, want %v", tt.out, tt.what, got, tt.want)
		}
	}
}

func TestDataReply(t *testing.T) {
	for _, tt := range []struct{ name, dialogue, want string }{
		{"swaks", " -> .\n<-  250 2.0.0 stored as 06fyx\n -> QUIT\n<-  221 bye\n", "250 2.0.0 stored as 06fyx"},
		{"swaks TLS", " ~> .\n<~  250 2.0.0 stored\n ~> QUIT\n<~  221 bye\n", "250 2.0.0 stored"},
		{"curl", "> DATA\n< 354 go\n} [5 bytes data]\n< 250 2.0.0 stored\r\n> QUIT\r\n< 221 bye\n", "250 2.0.0 stored"},
		{"refused", " -> .\n<** 554 5.6.0 no\n -> QUIT\n", ""},
		{"nothing", "", ""},
	} {
		if got := dataReply(tt.dialogue); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
