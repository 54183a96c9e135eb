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

	"github.com/emersion/go-smtp"
)

// Limits of a self-test's session, which only this process can have.
const (
	selfTestSilence = 10 * time.Second
	selfTestSize    = 64 << 10 // bytes of a message
)

// readBack removes the message id from the spool, and delivers to t what was in it.
func readBack(t *own.Test, from *spool.Spool, id mail.ID) (err error) {
	defer func() { err = errors.Join(err, from.Remove(id)) }()
	m, _, err := from.Load(id)
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

// newSelfTestSession is newSession for what a door has put aside.
func (s *Server) newSelfTestSession(c *smtp.Conn) (smtp.Session, error) {
	conn, ok := c.Conn().(*wire.Conn)
	if !ok {
		return nil, errors.New("connection did not come through wire")
	}
	test := s.o.Own.Test(conn.Client())
	if test == nil {
		return nil, errors.New("the self-test was given up")
	}
	sess := &session{server: s, rules: selfTestRules(s.settings.Load().Rules.Hostname), test: test, smtp: c, wire: conn}
	sess.client.Addr, sess.client.Service = conn.Client(), conn.Service()
	return sess, nil
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
	hostname := s.settings.Load().Rules.Hostname // read by this node alone: it may be an old one
	return wire.Settings{
		Hostname: hostname, Command: completePostmaster(hostname),
		Limits: wire.Limits{
			MaxMessage: selfTestSize, CommandTimeout: selfTestSilence, DataTimeout: selfTestSilence, WriteTimeout: selfTestSilence,
		},
	}
}

// The rest is what a session does differently for a self-test.

// full is why the spool takes nothing; nil: it does.
func (s *session) full() error {
	if s.test != nil {
		return nil // BeginSelfTest returns the error
	}
	return s.server.o.Spool.Accepting()
}

func (s *session) begin() (*spool.Draft, error) {
	if s.test != nil {
		return s.server.o.Spool.BeginSelfTest()
	}
	return s.server.o.Spool.Begin()
}

// stored hands on a message that was committed: to the queue, or to the self-test. A self-test is
// in no log and no figure of mail, and the queue never hears of it.
func (s *session) stored(m *spool.Message) error {
	if s.test != nil {
		return readBack(s.test, s.server.o.Spool, m.Envelope.ID)
	}
	s.server.metrics.accepted(m.Envelope)
	s.server.o.MailLog.Accepted(m.Envelope)
	s.server.o.Accepted(m)
	return nil
}
