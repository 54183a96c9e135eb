package smtpd

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"anymx/edge/ingress/own"
	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/mail"
	"anymx/edge/maillog"

	"github.com/emersion/go-smtp"
)

func closed(err error) bool { return err == nil || errors.Is(err, net.ErrClosed) }

// session is one client's. go-smtp makes it at the first EHLO, and calls it
// from one goroutine, in the order of the commands.
type session struct {
	server *Server
	rules  *policy.Rules
	test   *own.Test // nil: it is a client's
	smtp   *smtp.Conn
	wire   *wire.Conn
	client mail.Client

	env      *mail.Envelope // nil: no transaction is open
	messages int            // accepted
	refused  int            // recipients and messages refused
	badRcpts int
}

func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	conn, ok := c.Conn().(*wire.Conn)
	if !ok {
		return nil, errors.New("connection did not come through wire")
	}
	sess := &session{server: s, rules: s.settings.Load().Rules, smtp: c, wire: conn}
	sess.client.Addr, sess.client.Service = conn.Client(), conn.Service()
	conn.Attach(sess)
	return sess, nil
}

// completePostmaster adds a domain to "RCPT TO:<postmaster>", which go-smtp would refuse
// without one (RFC 5321 section 4.5.1).
func completePostmaster(hostname string) func(*wire.Conn, wire.Command) wire.Answer {
	return func(_ *wire.Conn, cmd wire.Command) wire.Answer {
		if cmd.Verb != "RCPT" || bytes.IndexByte(cmd.Arg, '@') >= 0 {
			return wire.Answer{}
		}
		p, rest, err := cutCommandPath(cmd.Arg, "TO:")
		if err != nil || p.IsNull() {
			return wire.Answer{}
		}
		return wire.Answer{Line: "RCPT TO:<" + p.Local + "@" + hostname + ">" + rest}
	}
}

// cutCommandPath reads the path behind "FROM:" or "TO:".
func cutCommandPath(arg []byte, keyword string) (mail.Path, string, error) {
	if len(arg) < len(keyword) || !bytes.EqualFold(arg[:len(keyword)], []byte(keyword)) {
		return mail.Path{}, "", mail.ErrPath
	}
	return mail.CutPath(string(arg[len(keyword):]))
}

// Mail opens a transaction.
func (s *session) Mail(_ string, opts *smtp.MailOptions) error {
	sender, _, err := cutCommandPath(s.wire.Command().Arg, "FROM:")
	if err != nil {
		return s.refuse("mail", mail.Path{}, mail.Path{}, mail.Reply{Code: 501, Enhanced: mail.Enhanced{5, 1, 7}, Text: err.Error()})
	}
	refusal := s.rules.Mail(policy.Mail{
		Sender: sender, Size: opts.Size, TLS: s.wire.Secure(), RequireTLS: opts.RequireTLS, SMTPUTF8: opts.UTF8,
		Core: s.server.o.Core(),
		Open: s.env != nil, Messages: s.messages, Full: s.full(),
	})
	if refusal.Code != 0 {
		return s.refuse("mail", sender, mail.Path{}, refusal)
	}
	s.describeClient(opts.UTF8)
	s.env = &mail.Envelope{
		Sender: sender, SMTPUTF8: opts.UTF8, RequireTLS: opts.RequireTLS,
		Return: returnOf(opts.Return), EnvID: opts.EnvelopeID, Client: s.client,
	}
	if opts.Body == smtp.Body8BitMIME {
		s.env.Body = mail.Body8Bit
	}
	s.wire.Answer(mail.Reply{Code: 250, Enhanced: mail.Enhanced{2, 1, 0}, Text: "sender taken"})
	return nil
}

// describeClient fills in what may have changed since the last EHLO.
func (s *session) describeClient(utf8 bool) {
	s.client.Helo = s.smtp.Hostname()
	proto := "ESMTP"
	switch {
	case utf8:
		proto = "UTF8SMTP"
	case s.wire.Hello() == "HELO":
		proto = "SMTP"
	}
	if s.wire.Secure() && proto != "SMTP" {
		proto += "S"
		if s.client.TLS == "" {
			state := s.wire.TLS()
			s.client.TLS = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
		}
	}
	s.client.Proto = proto // RFC 3848, RFC 6531 section 4.3
}

func returnOf(r smtp.DSNReturn) mail.Return {
	switch r {
	case smtp.DSNReturnFull:
		return mail.ReturnFull
	case smtp.DSNReturnHeaders:
		return mail.ReturnHeaders
	}
	return mail.ReturnUnset
}

// Rcpt adds a recipient.
func (s *session) Rcpt(_ string, opts *smtp.RcptOptions) error {
	if s.env == nil {
		return s.refuse("rcpt", mail.Path{}, mail.Path{}, mail.Reply{Code: 503, Enhanced: mail.Enhanced{5, 5, 1}, Text: "MAIL first"})
	}
	to, _, err := cutCommandPath(s.wire.Command().Arg, "TO:")
	if err != nil || to.IsNull() {
		return s.refuseRcpt(mail.Path{}, mail.Reply{Code: 501, Enhanced: mail.Enhanced{5, 1, 3}, Text: "malformed address"})
	}
	if s.test != nil && !s.test.IsFor(to) {
		return s.refuseRcpt(to, mail.Reply{Code: 550, Enhanced: mail.Enhanced{5, 7, 1}, Text: "this is not what was to be proven"})
	}
	path, refusal := s.rules.Rcpt(policy.Rcpt{
		Path: to, SMTPUTF8: s.env.SMTPUTF8, Core: s.server.o.Core(), Recipients: len(s.env.Recipients), Refused: s.badRcpts,
	})
	if refusal.Code != 0 {
		return s.refuseRcpt(to, refusal)
	}
	s.add(path, opts)
	s.wire.Answer(mail.Reply{Code: 250, Enhanced: mail.Enhanced{2, 1, 5}, Text: "recipient taken"})
	return nil
}

// add takes a recipient once, however often it is named.
func (s *session) add(path mail.Path, opts *smtp.RcptOptions) {
	key := path.Key()
	for _, r := range s.env.Recipients {
		if r.Path.Key() == key {
			return
		}
	}
	r := mail.Recipient{Path: path}
	for _, n := range opts.Notify {
		switch n {
		case smtp.DSNNotifyNever:
			r.Notify |= mail.NotifyNever
		case smtp.DSNNotifySuccess:
			r.Notify |= mail.NotifySuccess
		case smtp.DSNNotifyFailure:
			r.Notify |= mail.NotifyFailure
		case smtp.DSNNotifyDelayed:
			r.Notify |= mail.NotifyDelay
		}
	}
	if opts.OriginalRecipient != "" {
		kind := "rfc822"
		if opts.OriginalRecipientType == smtp.DSNAddressTypeUTF8 {
			kind = "utf-8"
		}
		r.ORcpt = kind + ";" + opts.OriginalRecipient
	}
	s.env.Recipients = append(s.env.Recipients, r)
}

func (s *session) refuseRcpt(to mail.Path, r mail.Reply) error {
	if r.Permanent() {
		s.badRcpts++
		s.slowDown()
	}
	return s.refuse("rcpt", s.env.Sender, to, r)
}

// slowDown makes guessing addresses expensive in time, and only that.
func (s *session) slowDown() {
	delay := s.server.settings.Load().RefusedDelay
	if over := s.badRcpts - 3; over > 0 && delay > 0 {
		s.wire.Delay(min(time.Duration(over), 5) * delay)
	}
}

// refuse gives r in place of go-smtp's reply, and makes go-smtp know that the
// command failed.
func (s *session) refuse(stage string, sender, to mail.Path, r mail.Reply) error {
	s.refused++
	if s.test == nil {
		s.server.metrics.refused.WithLabelValues(stage, class(r)).Inc()
		s.server.o.MailLog.Refused(&s.client, stage, sender, to, r)
	}
	s.wire.Answer(r)
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: smtp.EnhancedCode(r.Enhanced), Message: r.Text}
}

func class(r mail.Reply) string {
	if r.Permanent() {
		return "5xx"
	}
	return "4xx"
}

// Data takes the message. Its reader is not used: wire has the bytes.
func (s *session) Data(io.Reader) error {
	env := s.env
	s.env = nil
	if env == nil {
		return s.refuse("data", mail.Path{}, mail.Path{}, mail.Reply{Code: 503, Enhanced: mail.Enhanced{5, 5, 1}, Text: "MAIL first"})
	}
	if refusal := s.take(env); refusal.Code != 0 {
		return s.refuse("data", env.Sender, mail.Path{}, refusal)
	}
	s.messages++
	return nil
}

// Reset forgets the transaction.
func (s *session) Reset() { s.env = nil }

// Logout is go-smtp's end of the session; the connection's own end is told by
// wire, also where there never was a session.
func (s *session) Logout() error { return nil }

// closed logs a connection that has ended, but not the node's own probes, of
// which there are several in a second.
func (s *Server) closed(c *wire.Conn) {
	if !s.settings.Load().LogSessions || c.Probe() {
		return
	}
	stats := c.Stats()
	line := maillog.Session{
		Duration: stats.Duration, Commands: stats.Commands, Errors: stats.Errors,
		In: stats.In, Out: stats.Out, Reason: stats.Reason,
	}
	if sess, ok := c.Attached().(*session); ok {
		line.Client, line.Messages, line.Refused = sess.client, sess.messages, sess.refused
	}
	line.Client.Addr, line.Client.Helo = c.Client(), c.Helo()
	s.o.MailLog.Session(&line)
}
