package main

import (
	"crypto/tls"
	"flag"
	"io"
	"log"
	"os"
	"time"

	"github.com/emersion/go-smtp"
)

// discardCommand serves go-smtp with a backend that discards, which shows what the protocol library
// alone can do on this machine. It runs until a signal.
func discardCommand(args []string) error {
	fs := flag.NewFlagSet("discard", flag.ContinueOnError)
	address := fs.String("listen", "127.0.0.1:0", "address to listen on")
	cert := fs.String("cert", "", "PEM `file` of the certificate; without it there is no STARTTLS")
	key := fs.String("key", "", "PEM `file` of the key")
	if err := fs.Parse(args); err != nil {
		return err
	}
	s, err := newDiscard(*cert, *key)
	if err != nil {
		return err
	}
	s.Addr = *address
	return s.ListenAndServe()
}

// newDiscard returns the server, with STARTTLS if cert is given.
func newDiscard(cert, key string) (*smtp.Server, error) {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return discarder{}, nil }))
	s.Domain = "discard." + recipientDomain
	s.MaxMessageBytes = 36700160
	s.ReadTimeout, s.WriteTimeout = time.Minute, time.Minute
	s.ErrorLog = log.New(os.Stderr, "", 0)
	if cert == "" {
		return s, nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	s.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}}
	return s, nil
}

// discarder accepts every message and stores none.
type discarder struct{}

func (discarder) Reset()                               {}
func (discarder) Logout() error                        { return nil }
func (discarder) Mail(string, *smtp.MailOptions) error { return nil }
func (discarder) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (discarder) Data(r io.Reader) error               { _, err := io.Copy(io.Discard, r); return err }
