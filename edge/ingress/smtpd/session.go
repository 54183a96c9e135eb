package smtpd

import (
	"bytes"
	"crypto/tls"
	"strings"

	"anymx/edge/ingress/own"
	"anymx/edge/ingress/wire"
	"anymx/edge/judge/policy"
	"anymx/edge/judge/replies"
	"anymx/edge/mail"
	"anymx/edge/maillog"
)

// session is one client's: the state of the dialogue, and what answers its commands.
type session struct {
	server   *Server
	settings *Settings
	rules    *policy.Rules
	test     *own.Test // nil: it is a client's
	conn     *wire.Conn
	cmd      wire.Command // in hand
	noted    *record      // nil: no check was asked, and there was no transaction yet

	greeting string         // the verb that greeted us; "" before it
	heloName string         // that the client gave itself
	asked    bool           // for more than a greeting and the end
	env      *mail.Envelope // nil: no transaction is open
	held     held
	in       *intake // its message; nil: none has begun
	commands int
	errors   int // commands refused for good, recipients apart
	messages int // accepted
	refused  int // senders, recipients and messages refused
	badRcpts int
}

// record is what checks are asked about and what they said. Most connections that are open wait for
// their client between a greeting and a message, and need none of it.
type record struct {
	facts   policy.Facts
	connect policy.Verdict // of the checks on the connection
	helo    policy.Verdict // of these and of those on the greeting
	verdict policy.Verdict // of all, with those on the transaction
}

// record returns the session's record, with what is known of the client now.
func (s *session) record() *record {
	if s.noted == nil {
		s.noted = new(record)
	}
	client := &s.noted.facts.Client
	client.Addr, client.Service, client.Helo = s.conn.Client(), s.conn.Service(), s.heloName
	return s.noted
}

func (s *Server) newSession(conn *wire.Conn) *session {
	set := s.settings.Load()
	sess := &session{server: s, settings: set, rules: set.Rules, conn: conn}
	return sess
}

// reset forgets the transaction, with its message.
func (s *session) reset() {
	if s.in != nil {
		s.in.free()
		s.in = nil
	}
	s.env = nil
	s.release()
	if r := s.noted; r != nil {
		r.facts = policy.Facts{Client: r.facts.Client}
		r.verdict = r.helo
	}
}

// forgetGreeting forgets the transaction and what the client has said of itself.
func (s *session) forgetGreeting() {
	s.greeting, s.heloName = "", ""
	if r := s.noted; r != nil {
		r.helo = r.connect
	}
	s.reset()
}

// check asks the checks of a stage. It returns the reply of one that refuses, or the zero reply. What
// a refusal of one recipient says counts for that one alone.
func (s *session) check(at policy.Stage) mail.Reply {
	if s.test != nil || len(s.settings.Checks[at]) == 0 {
		return mail.Reply{}
	}
	r := s.record()
	v := r.verdict
	s.settings.Checks.Ask(s.conn.Context(), at, &r.facts, &v)
	if v.Action == policy.Refuse {
		return v.Reply
	}
	r.verdict = v
	switch at {
	case policy.AtConnect:
		r.connect, r.helo = v, v
	case policy.AtHelo:
		r.helo = v
	}
	return mail.Reply{}
}

// cutPath parses the path after "FROM:" or "TO:", and returns the parameters after it.
func (s *session) cutPath(keyword string) (p mail.Path, rest string, refusal mail.Reply, err error) {
	arg := s.cmd.Arg
	if len(arg) < len(keyword) || !bytes.EqualFold(arg[:len(keyword)], []byte(keyword)) {
		return p, "", replies.NeedsPath.With(s.cmd.Verb, keyword), nil
	}
	p, rest, err = mail.CutPath(strings.TrimLeft(string(arg[len(keyword):]), " "))
	return p, rest, mail.Reply{}, err
}

// mail answers MAIL: it opens a transaction. What may stand against it, in this order: no greeting, the
// syntax, the rules (also a nested MAIL), the memory, and the checks, which may take their time. The log
// has a line for a bad address and for what the rules, the memory and the checks refuse.
func (s *session) mail() {
	if s.greeting == "" {
		s.answer(replies.NeedsHello.Reply)
		return
	}
	if s.test != nil && s.server.options.Own.Test(s.conn.Client()) != s.test {
		s.answer(replies.TestOver.Reply)
		return
	}
	sender, rest, refusal, err := s.cutPath("FROM:")
	var params mailParams
	switch {
	case err != nil:
		s.refuse("mail", mail.Path{}, mail.Path{}, replies.BadSender.With(err))
		return
	case refusal.Code == 0:
		refusal = params.parse(rest)
	}
	if refusal.Code != 0 {
		s.answer(refusal)
		return
	}
	refusal = s.rules.Mail(policy.Mail{
		Sender: sender, Size: params.size, TLS: s.conn.TLS() != nil, RequireTLS: params.requireTLS, SMTPUTF8: params.utf8,
		Core: s.server.options.Core(),
		Open: s.env != nil, Messages: s.messages, Storage: s.storageError(),
	})
	if refusal.Code == 0 {
		refusal = s.hold(openCost + s.textCost(params.envID))
	}
	if refusal.Code == 0 {
		s.describeClient(params.utf8)
		s.record().facts.Sender = sender
		if refusal = s.check(policy.AtMail); refusal.Code != 0 {
			s.release()
		}
	}
	if refusal.Code != 0 {
		s.refuse("mail", sender, mail.Path{}, refusal)
		return
	}
	s.env = &mail.Envelope{
		Sender: sender, SMTPUTF8: params.utf8, RequireTLS: params.requireTLS, Body: params.body,
		Return: params.ret, EnvID: params.envID, Client: s.record().facts.Client,
	}
	s.answer(replies.SenderOK.Reply)
}

// describeClient fills in what may have changed since the last EHLO.
func (s *session) describeClient(utf8 bool) {
	proto := "ESMTP"
	switch {
	case utf8:
		proto = "UTF8SMTP"
	case s.greeting == "HELO":
		proto = "SMTP"
	}
	client := &s.record().facts.Client
	if state := s.conn.TLS(); state != nil && proto != "SMTP" {
		proto += "S"
		if client.TLS == "" {
			client.TLS = tls.VersionName(state.Version) + " " + tls.CipherSuiteName(state.CipherSuite)
		}
	}
	client.Proto = proto // RFC 3848, RFC 6531 section 4.3
}

// rcpt answers RCPT: it adds a recipient.
func (s *session) rcpt() {
	if s.env == nil || s.in != nil {
		s.answer(replies.NeedsMail.Reply)
		return
	}
	to, rest, refusal, err := s.cutPath("TO:")
	var params rcptParams
	switch {
	case refusal.Code != 0:
	case err != nil || to.IsNull():
		s.refuseRcpt(mail.Path{}, replies.BadRecipient.Reply)
		return
	default:
		refusal = params.parse(rest)
	}
	if refusal.Code != 0 {
		s.answer(refusal)
		return
	}
	if s.test != nil && !s.test.IsFor(to) {
		s.refuseRcpt(to, replies.NotTheTest.Reply)
		return
	}
	path, refusal := s.rules.Rcpt(policy.Rcpt{
		Path: to, SMTPUTF8: s.env.SMTPUTF8, Core: s.server.options.Core(), Recipients: len(s.env.Recipients), Refused: s.badRcpts,
	})
	if refusal.Code == 0 {
		facts := &s.record().facts
		facts.Recipient, facts.Recipients = path, len(s.env.Recipients)
		refusal = s.check(policy.AtRcpt)
	}
	if refusal.Code != 0 {
		s.refuseRcpt(to, refusal)
		return
	}
	if refusal := s.addRecipient(mail.Recipient{Path: path, Notify: params.notify, ORcpt: params.orcpt}); refusal.Code != 0 {
		s.refuseRcpt(to, refusal)
		return
	}
	s.answer(replies.RcptOK.Reply)
}

// addRecipient adds a recipient once, however often it is named, or returns why there is no room for it.
func (s *session) addRecipient(r mail.Recipient) mail.Reply {
	key := r.Path.Key()
	for _, known := range s.env.Recipients {
		if known.Path.Key() == key {
			return mail.Reply{}
		}
	}
	if refusal := s.hold(recipientCost + s.textCost(r.ORcpt)); refusal.Code != 0 {
		return refusal
	}
	s.env.Recipients = append(s.env.Recipients, r)
	return mail.Reply{}
}

func (s *session) refuseRcpt(to mail.Path, r mail.Reply) {
	if r.Permanent() {
		s.badRcpts++
		s.slowDown()
	}
	s.refuse("rcpt", s.env.Sender, to, r)
}

// refuse answers what is refused for its content or for lack of room, and logs it.
func (s *session) refuse(stage string, sender, to mail.Path, r mail.Reply) {
	s.refused++
	if s.test == nil {
		s.server.metrics.refused.WithLabelValues(stage, class(r), nameOf(r)).Inc()
		s.server.options.MailLog.Refused(&s.record().facts.Client, stage, sender, to, r)
	}
	s.answer(r)
}

// nameOf returns the id of a reply in the table, and "check" for those of checks.
func nameOf(r mail.Reply) string {
	if r.ID == "" {
		return "check"
	}
	return r.ID
}

func class(r mail.Reply) string {
	if r.Permanent() {
		return "5xx"
	}
	return "4xx"
}

// isProbe reports whether the connection came from this node to one of the addresses that the speaker
// probes, and has said no more than a greeting and goodbye.
func (s *session) isProbe() bool { return s.conn.Own() && !s.asked }

// closed counts and logs a connection that has ended. The node's own probes, of which there are several
// in a second, are not logged.
func (s *Server) closed(sess *session) {
	stats := sess.conn.Stats()
	if sess.test != nil {
		return
	}
	s.metrics.commands.Add(float64(sess.commands))
	if sess.isProbe() {
		s.metrics.probes.Inc()
		return
	}
	if !s.settings.Load().LogSessions {
		return
	}
	line := maillog.Session{
		Duration: stats.Duration, Commands: sess.commands, Errors: sess.errors,
		In: stats.In, Out: stats.Out, Reason: stats.Reason,
		Client: sess.record().facts.Client, Messages: sess.messages, Refused: sess.refused,
	}
	s.options.MailLog.Session(&line)
}
