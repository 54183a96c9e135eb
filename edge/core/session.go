package core

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"anymx/edge/ingress/wire"
	"anymx/edge/mail"

	"github.com/emersion/go-smtp"
)

// session is the session of one edge. go-smtp creates it at the first EHLO or LHLO and calls it
// from one goroutine, in the order of the commands.
type session struct {
	server  *Server
	smtp    *smtp.Conn
	wire    *wire.Conn
	lmtp    *lmtpConn // nil: SMTP
	forward xforward

	open   bool // a transaction is open
	utf8   bool // with SMTPUTF8
	sender mail.Path
	to     []mail.Path
}

func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	sess := &session{server: s, smtp: c}
	switch conn := c.Conn().(type) {
	case *wire.Conn:
		sess.wire = conn
	case *lmtpConn:
		sess.wire, sess.lmtp = conn.Conn, conn
	default:
		return nil, errors.New("connection is not from wire")
	}
	sess.wire.Attach(sess)
	return sess, nil
}

// Mail opens a transaction.
func (s *session) Mail(_ string, opts *smtp.MailOptions) error {
	if s.open {
		return s.say(reply(503, 5, 5, 1, "nested MAIL command"))
	}
	sender, _, err := cutPath(s.wire.Command().Arg, "FROM:")
	if err != nil {
		return s.say(reply(501, 5, 1, 7, err.Error()))
	}
	if max := s.server.options.MaxMessage; max > 0 && opts.Size > max {
		return s.say(s.tooBig())
	}
	if err := s.server.store.accepting(opts.Size); err != nil {
		s.server.options.Log.Warn("mail refused temporarily", "err", err)
		return s.say(storeReply(err))
	}
	s.open, s.utf8, s.sender = true, opts.UTF8, sender
	return s.say(reply(250, 2, 1, 0, "sender ok"))
}

// Rcpt adds a recipient. Its mailbox is created when the message is stored.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	to, _, err := cutPath(s.wire.Command().Arg, "TO:")
	if err != nil || to.IsNull() {
		return s.say(reply(501, 5, 1, 3, "malformed address"))
	}
	if to.Domain == "" {
		to.Domain = s.server.options.Hostname // of a bare postmaster
	}
	s.to = append(s.to, to)
	return s.say(reply(250, 2, 1, 5, "recipient ok"))
}

// Data receives the message. Its reader is not used: wire has the bytes.
func (s *session) Data(io.Reader) error {
	replies := s.storeMessage()
	if s.lmtp != nil {
		s.lmtp.replies = replies
		return nil
	}
	for _, r := range replies {
		if !r.Positive() {
			return s.say(r) // for all recipients, which will all be attempted again
		}
	}
	return s.say(replies[0])
}

// Reset ends the transaction and clears its XFORWARD attributes.
func (s *session) Reset() {
	s.open, s.utf8, s.sender, s.to, s.forward = false, false, mail.Path{}, nil, xforward{}
}

// Logout has nothing to free.
func (s *session) Logout() error { return nil }

// say replaces go-smtp's reply to the current command by r, and tells go-smtp whether the command
// failed.
func (s *session) say(r mail.Reply) error {
	s.wire.Answer(r)
	if r.Positive() {
		return nil
	}
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: smtp.EnhancedCode(r.Enhanced), Message: r.Text}
}

// storeMessage reads and stores the message, and returns the reply for each recipient.
func (s *session) storeMessage() []mail.Reply {
	began := s.server.options.Now()
	who, _ := parseIdentity(s.forward.ident)
	in, err := s.receive(who, began)
	if err != nil {
		s.log(began, in, len(s.to), err)
		return slices.Repeat([]mail.Reply{s.transferReply(err)}, len(s.to))
	}
	defer in.discard()
	replies := make([]mail.Reply, len(s.to))
	failed, first := 0, error(nil)
	for i, err := range in.keep(who, s.to, s.lmtp == nil) {
		if err == nil {
			replies[i] = reply(250, 2, 0, 0, "stored")
			continue
		}
		replies[i] = storeReply(err)
		first = cmp.Or(first, err)
		failed++
	}
	s.log(began, in, failed, first)
	return replies
}

// receive reads the message to its end, with its trace fields in front. The incoming is nil on an
// error.
func (s *session) receive(who identity, now time.Time) (*incoming, error) {
	in, err := s.server.store.newIncoming()
	if err != nil {
		return nil, err
	}
	if _, err = in.Write(s.trace(who, now)); err == nil {
		_, err = s.wire.Body().WriteTo(&limited{w: in, max: s.server.options.MaxMessage})
	}
	if err != nil {
		in.discard()
		return nil, err
	}
	return in, nil
}

// trace returns the header fields that final delivery adds (RFC 5321 section 4.4). The id is that
// of the node, if the message has one.
func (s *session) trace(who identity, now time.Time) []byte {
	env := &mail.Envelope{ID: who.id, Arrived: now, Client: mail.Client{
		Addr: s.wire.Client(), Helo: s.smtp.Hostname(), Proto: s.protocol(),
	}}
	if who.isNone() {
		env.ID = s.server.ids.Next(now)
	}
	if len(s.to) == 1 {
		env.Recipients = []mail.Recipient{{Path: s.to[0]}}
	}
	b := mail.AppendReturnPath(make([]byte, 0, 512), s.sender)
	return mail.AppendReceived(b, env, s.server.options.Hostname, "core")
}

// protocol returns the transaction's protocol as named by RFC 3848 and RFC 6531 section 4.3.
func (s *session) protocol() string {
	switch {
	case s.lmtp != nil && s.utf8:
		return "UTF8LMTP"
	case s.lmtp != nil:
		return "LMTP"
	case s.utf8:
		return "UTF8SMTP"
	case s.wire.Hello() == "HELO":
		return "SMTP"
	}
	return "ESMTP"
}

// log writes the log line of the message. in is nil if it was not received completely.
func (s *session) log(began time.Time, in *incoming, failed int, err error) {
	line := []slog.Attr{
		slog.String("ident", s.forward.ident),
		slog.String("from", s.sender.String()),
		slog.String("to", s.to[0].String()),
		slog.Int("recipients", len(s.to)),
		slog.Int("failed", failed),
	}
	if in != nil {
		line = append(line, slog.Int64("size", in.size), slog.Int("duplicates", in.duplicates))
	}
	line = append(line,
		slog.Float64("seconds", s.server.options.Now().Sub(began).Seconds()),
		slog.String("edge", s.wire.Client().String()),
		slog.String("client", s.forward.addr))
	if err != nil {
		s.server.options.Log.LogAttrs(context.Background(), slog.LevelWarn, "message not stored", append(line, slog.Any("err", err))...)
		return
	}
	s.server.options.Log.LogAttrs(context.Background(), slog.LevelInfo, "message stored", line...)
}

// storeReply returns the reply to a storage failure. It is never permanent, because the message is
// not at fault.
func storeReply(err error) mail.Reply {
	if errors.Is(err, errFull) {
		return reply(452, 4, 3, 1, "insufficient system storage, try again later")
	}
	return reply(451, 4, 3, 0, "could not store the message, try again later")
}

// transferReply returns the reply to an error while the message was received. wire closes the
// connection after most of them.
func (s *session) transferReply(err error) mail.Reply {
	switch {
	case errors.Is(err, errTooBig):
		return s.tooBig()
	case errors.Is(err, wire.ErrBareCR), errors.Is(err, wire.ErrBareLF), errors.Is(err, wire.ErrNUL):
		return reply(554, 5, 6, 0, err.Error()+", closing")
	case errors.Is(err, wire.ErrSlow), errors.Is(err, wire.ErrAborted), errors.Is(err, wire.ErrGone):
		return reply(451, 4, 4, 2, "message was not received completely")
	}
	return storeReply(err)
}

func (s *session) tooBig() mail.Reply {
	return reply(552, 5, 3, 4, fmt.Sprintf("message size exceeds the limit of %d bytes", s.server.options.MaxMessage))
}

var errTooBig = errors.New("message too big")

// limited stops a message that exceeds the size limit.
type limited struct {
	w      io.Writer
	n, max int64 // bytes received and allowed; max 0: no limit
}

func (l *limited) Write(p []byte) (int, error) {
	if l.n += int64(len(p)); l.max > 0 && l.n > l.max {
		return 0, errTooBig
	}
	return l.w.Write(p)
}

// cutPath parses the path after "FROM:" or "TO:".
func cutPath(arg []byte, keyword string) (mail.Path, string, error) {
	if len(arg) < len(keyword) || !bytes.EqualFold(arg[:len(keyword)], []byte(keyword)) {
		return mail.Path{}, "", mail.ErrPath
	}
	return mail.CutPath(string(arg[len(keyword):]))
}
