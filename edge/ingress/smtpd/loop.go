package smtpd

import (
	"runtime/debug"
	"time"

	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/judge/replies"
	"anymx/edge/mail"
)

// serve answers the commands of one client until it ends.
func (s *session) serve() {
	defer s.close()
	defer s.recovered()
	if err := s.conn.Open(); err != nil {
		s.refuseBanner(err)
		return
	}
	if refusal := s.check(policy.AtConnect); refusal.Code != 0 {
		s.conn.End("refused")
		s.refuse("connect", mail.Path{}, mail.Path{}, refusal)
		return
	}
	s.conn.Reply(replies.Banner.With(s.rules.Hostname))
	for !s.conn.Ended() {
		cmd, err := s.conn.ReadCommand(s.env != nil)
		if err != nil {
			s.explain(err)
		} else {
			s.answerCommand(cmd)
		}
	}
}

// recovered ends the session after a panic, which is a bug of ours.
func (s *session) recovered() {
	if p := recover(); p != nil {
		s.server.options.Log.Error("session failed", "client", s.conn.Client(), "panic", p, "stack", string(debug.Stack()))
		s.end("panic", replies.Failed.With(s.rules.Hostname))
	}
}

// refuseBanner says why a client gets no banner.
func (s *session) refuseBanner(err error) {
	switch err {
	case wire.ErrNetworkFull:
		s.conn.Reply(replies.NetworkFull.With(s.rules.Hostname))
	case wire.ErrLeaving:
		s.conn.Reply(replies.Leaving.With(s.rules.Hostname))
	case wire.ErrEarly:
		s.conn.Reply(replies.EarlyTalker.With(s.rules.Hostname))
	}
}

// explain answers what is not a command.
func (s *session) explain(err error) {
	s.cmd = wire.Command{}
	if s.tooMany() {
		return
	}
	switch err {
	case wire.ErrControl:
		s.answer(replies.Control.Reply)
	case wire.ErrNotUTF8:
		s.answer(replies.NotUTF8.Reply)
	case wire.ErrLongLine:
		s.answer(replies.LineTooLong.Reply)
	case wire.ErrBareLine:
		s.answer(replies.BareLine.Reply)
	case wire.ErrLeaving:
		s.answer(replies.Leaving.With(s.rules.Hostname))
	case wire.ErrCrowded:
		s.answer(replies.Crowded.With(s.rules.Hostname))
	case wire.ErrCut:
		s.answer(replies.Cut.With(s.rules.Hostname))
	case wire.ErrSilent:
		s.answer(replies.Silent.With(s.rules.Hostname))
	}
}

// end gives the last reply of a connection.
func (s *session) end(reason string, r mail.Reply) {
	s.conn.End(reason)
	s.conn.Reply(r)
}

// answer replies to the command in hand. Errors add up, and 421 is the last reply. Refused recipients
// have a limit of their own.
func (s *session) answer(r mail.Reply) {
	s.conn.Reply(r)
	failed := r.Permanent() && s.cmd.Verb != "RCPT"
	if failed {
		s.errors++
		if s.test == nil {
			s.server.metrics.errors.Inc()
		}
	}
	most := s.settings.MaxErrors
	switch {
	case s.conn.Ended():
	case r.Code == 421:
		s.conn.End("refused")
	case failed && most > 0 && s.errors >= most:
		s.end("errors", replies.TooManyErrors.With(s.rules.Hostname))
	}
}

// tooMany counts a command, or what came in place of one, and ends the connection that had too many.
func (s *session) tooMany() bool {
	s.commands++
	most := s.settings.MaxCommands
	if most <= 0 || s.commands <= most {
		return false
	}
	s.end("commands", replies.TooManyCommands.With(s.rules.Hostname))
	return true
}

// answerCommand answers a command.
func (s *session) answerCommand(cmd wire.Command) {
	s.cmd = cmd
	if s.tooMany() {
		return
	}
	if s.conn.Draining() && !s.finishes() {
		s.end("draining", replies.Leaving.With(s.rules.Hostname))
		return
	}
	switch cmd.Verb {
	case "EHLO", "HELO", "QUIT":
	default:
		s.asked = true
	}
	if s.in != nil && !withinChunks(cmd.Verb) {
		s.answer(replies.NeedsChunk.Reply)
		return
	}
	switch cmd.Verb {
	case "EHLO", "HELO":
		s.helo()
	case "MAIL":
		s.mail()
	case "RCPT":
		s.rcpt()
	case "DATA":
		s.data()
	case "BDAT":
		s.bdat()
	case "RSET":
		s.reset()
		s.answer(replies.OK.Reply)
	case "NOOP":
		s.answer(replies.OK.Reply)
	case "QUIT":
		s.end("quit", replies.Goodbye.Reply)
	case "STARTTLS":
		s.startTLS()
	case "VRFY":
		s.answer(replies.NotVerify.Reply)
	case "AUTH":
		s.answer(replies.NoAuth.Reply)
	case "EXPN", "HELP", "TURN", "SEND", "SOML", "SAML", "ETRN":
		s.answer(replies.NotImplemented.Reply)
	case "PROXY", "GET", "POST", "PUT", "CONNECT":
		// Not a mail client: what follows is another protocol's, and its lines must not be tried as
		// commands one after the other.
		s.end("not SMTP", replies.NotSMTP.Reply)
	default:
		s.answer(replies.Unknown.Reply)
	}
}

// withinChunks reports whether a command may come between the chunks of a message. The others would
// change what the message belongs to.
func withinChunks(verb string) bool {
	switch verb {
	case "BDAT", "RSET", "NOOP", "QUIT":
		return true
	}
	return false
}

// finishes reports whether the command in hand may still be done while draining: the rest of a
// transaction, and goodbye.
func (s *session) finishes() bool {
	switch s.cmd.Verb {
	case "RCPT", "DATA", "BDAT":
		return s.env != nil
	}
	return s.cmd.Verb == "QUIT"
}

// close ends the connection and logs it.
func (s *session) close() {
	s.reset()
	s.conn.Close()
	s.server.closed(s)
}

// slowDown makes guessing addresses expensive in time, and only that.
func (s *session) slowDown() {
	delay := s.server.settings.Load().RefusedDelay
	if over := s.badRcpts - 3; over > 0 && delay > 0 {
		s.conn.Delay(min(time.Duration(over), 5) * delay)
	}
}
