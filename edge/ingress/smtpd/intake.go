package smtpd

import (
	"errors"
	"fmt"

	"anymx/edge/ingress/own"
	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/edge/spool"
)

// errTooBig stops the transfer of a message that is larger than it may be.
var errTooBig = errors.New("message too big")

// intake is a message on its way from wire into a draft.
type intake struct {
	draft *spool.Draft
	left  int64 // octets that may still come; below zero: no limit
	head  mail.HeaderScan
	bytes mail.ContentScan
}

// Write is called by wire with whole runs of the message.
func (in *intake) Write(p []byte) (int, error) {
	if in.left >= 0 {
		if in.left -= int64(len(p)); in.left < 0 {
			return 0, errTooBig
		}
	}
	_, _ = in.head.Write(p) // never fails
	_, _ = in.bytes.Write(p)
	return in.draft.Write(p)
}

// take reads, stores and commits the message of env. The zero reply means that
// the message is on stable storage and the queue knows of it.
func (s *session) take(env *mail.Envelope) mail.Reply {
	o := &s.server.o
	draft, err := s.begin()
	if err != nil {
		return s.storeFailed(err)
	}
	defer draft.Discard()
	env.ID, env.Arrived = draft.ID(), o.Now()
	var trace [512]byte
	if _, err := draft.Write(mail.AppendReceived(trace[:0], env, s.rules.Hostname, o.Node)); err != nil {
		return s.storeFailed(err)
	}
	in := intake{draft: draft, left: s.rules.MaxMessage}
	if s.rules.MaxMessage <= 0 {
		in.left = -1
	}
	if _, err := s.wire.Body().WriteTo(&in); err != nil {
		return s.transferFailed(err)
	}
	env.Content = in.bytes.Content()
	facts := policy.Data{Received: in.head.Received, Needs: env.Needs(), Core: o.Core()}
	if refusal := s.rules.Data(facts); refusal.Code != 0 {
		return refusal
	}
	message, err := draft.Commit(env)
	if err == nil {
		err = s.stored(message)
	}
	if err != nil {
		return s.storeFailed(err)
	}
	s.wire.Answer(mail.Reply{Code: 250, Enhanced: mail.Enhanced{2, 0, 0}, Text: "stored as " + env.ID.String()})
	return mail.Reply{}
}

// storeFailed is the reply to a fault of the spool: always temporary, for the
// message is as good as it was.
func (s *session) storeFailed(err error) mail.Reply {
	if s.test != nil {
		s.test.Deliver(own.Stored{Err: err})
	}
	var full *spool.Full
	if errors.As(err, &full) {
		return mail.Reply{Code: 452, Enhanced: mail.Enhanced{4, 3, 1}, Text: "no room for mail, try later"}
	}
	s.server.o.Log.Error("message not stored", "client", s.client.Addr, "err", err)
	return mail.Reply{Code: 451, Enhanced: mail.Enhanced{4, 3, 0}, Text: "could not store the message, try later"}
}

// transferFailed is the reply to what went wrong between the client and the
// draft. wire closes the connection behind all but the first.
func (s *session) transferFailed(err error) mail.Reply {
	switch {
	case errors.Is(err, errTooBig):
		return mail.Reply{Code: 552, Enhanced: mail.Enhanced{5, 3, 4}, Text: fmt.Sprintf("larger than the %d bytes that are taken", s.rules.MaxMessage)}
	case errors.Is(err, wire.ErrBareCR), errors.Is(err, wire.ErrBareLF), errors.Is(err, wire.ErrNUL):
		return mail.Reply{Code: 554, Enhanced: mail.Enhanced{5, 6, 0}, Text: err.Error() + ", closing"}
	case errors.Is(err, wire.ErrLongText):
		return mail.Reply{Code: 554, Enhanced: mail.Enhanced{5, 6, 0}, Text: "line too long in message, closing"}
	case errors.Is(err, wire.ErrSlow):
		return mail.Reply{Code: 421, Enhanced: mail.Enhanced{4, 4, 2}, Text: s.rules.Hostname + " message came too slowly"}
	case errors.Is(err, wire.ErrAborted), errors.Is(err, wire.ErrGone):
		return mail.Reply{Code: 451, Enhanced: mail.Enhanced{4, 4, 2}, Text: "message was not sent to its end"}
	}
	return s.storeFailed(err)
}
