package smtpd

import (
	"errors"
	"fmt"
	"io"
	"time"

	"anymx/edge/ingress/own"
	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/edge/spool"
)

// Limits of a self-test's session, which only this process can have.
const (
	selfTestSilence = 10 * time.Second
	selfTestSize    = 64 << 10 // bytes of a message
)

// readBack removes the message id from the spool, and delivers to t what was in it.
func readBack(t *own.Test, from *spool.Spool, id mail.ID) (err error) {
	defer func() { err = errors.Join(err, from.Remove(id)) }()
	m, err := from.Load(id)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	body, err := m.Body()
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	text, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	t.Deliver(own.Stored{Envelope: m.Envelope, Text: text})
	return nil
}

// serveSelfTest serves what a clientListener has put aside.
func (s *Server) serveSelfTest(conn *wire.Conn) {
	test := s.options.Own.Test(conn.Client())
	if test == nil { // it was given up
		conn.Close()
		return
	}
	set := s.settings.Load()
	(&session{server: s, settings: new(Settings), rules: selfTestRules(set.Rules.Hostname), test: test, conn: conn}).serve()
}

// selfTestRules are those of a self-test, in place of what an operator has set for clients.
func selfTestRules(hostname string) *policy.Rules {
	return &policy.Rules{
		Hostname: hostname, Domains: policy.NewDomains([]policy.Domain{{Name: own.Domain}}),
		MaxMessage: selfTestSize, MaxRecipients: 1, MaxMessages: 1,
	}
}

// selfTestSettings are wire's for a self-test, without what protects from clients.
func (s *Server) selfTestSettings() wire.Settings {
	return wire.Settings{
		Limits: wire.Limits{
			MaxMessage: selfTestSize, CommandTimeout: selfTestSilence, DataTimeout: selfTestSilence, WriteTimeout: selfTestSilence,
		},
	}
}
