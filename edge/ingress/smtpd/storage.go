package smtpd

import "anymx/edge/spool"

// What a session asks of the spool, and who gets the message then. A self-test's message has room
// reserved for it, and is read back instead of being queued.

// storageError returns why the spool takes nothing; nil: it does.
func (s *session) storageError() error {
	if s.test != nil {
		return nil // BeginSelfTest returns the error
	}
	return s.server.options.Spool.Accepting()
}

func (s *session) beginDraft() (*spool.Draft, error) {
	if s.test != nil {
		return s.server.options.Spool.BeginSelfTest()
	}
	return s.server.options.Spool.BeginDraftOf(spool.Client{Network: s.conn.Network(), Cut: s.conn.Cut})
}

// stored hands on a message that was committed: to the queue, or to the self-test. A self-test is
// in no log and no figure of mail, and the queue never hears of it.
func (s *session) stored(m *spool.Message) error {
	if s.test != nil {
		return readBack(s.test, s.server.options.Spool, m.Envelope.ID)
	}
	s.conn.Delivered()
	s.server.metrics.accepted(m.Envelope)
	s.server.options.MailLog.Accepted(m.Envelope)
	s.server.options.Accepted(m)
	return nil
}
