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

// session is one edge's. go-smtp makes it at the first EHLO or LHLO and calls it
// from one goroutine, in the order of the commands.
type session struct {
	server  *Server
	smtp    *smtp.Conn
	wire    *wire.Conn
	lmtp    *lmtpConn // nil: SMTP
	forward xforward

	open   bool // a transaction is
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
		return nil, errors.New("connection did not come through wire")
	}
	sess.wire.Attach(sess)
	return sess, nil
}

// Mail opens a transaction.
func (s *session) Mail(_ string, opts *smtp.MailOptions) error {
	if s.open {
		return s.say(reply(503, 5, 5, 1, "a transaction is open"))
	}
	sender, _, err := cutPath(s.wire.Command().Arg, "FROM:")
	if err != nil {
		return s.say(reply(501, 5, 1, 7, err.Error()))
	}
	if max := s.server.o.MaxMessage; max > 0 && opts.Size > max {
		return s.say(s.tooBig())
	}
	if err := s.server.store.accepting(opts.Size); err != nil {
		s.server.o.Log.Warn("mail refused for now", "err", err)
		return s.say(storeReply(err))
	}
	s.open, s.utf8, s.sender = true, opts.UTF8, sender
	return s.say(reply(250, 2, 1, 0, "sender taken"))
}

// Rcpt adds a recipient. Its mailbox is made when the message comes.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	to, _, err := cutPath(s.wire.Command().Arg, "TO:")
	if err != nil || to.IsNull() {
		return s.say(reply(501, 5, 1, 3, "malformed address"))
	}
	if to.Domain == "" {
		to.Domain = s.server.o.Hostname // of a bare postmaster
	}
	s.to = append(s.to, to)
	return s.say(reply(250, 2, 1, 5, "recipient taken"))
}

// Data takes the message. Its reader is not used: wire has the bytes.
func (s *session) Data(io.Reader) error {
	replies := s.take()
	if s.lmtp != nil {
		s.lmtp.replies = replies
		return nil
	}
	for _, r := range replies {
		if !r.Positive() {
			return s.say(r) // for all, and all is tried again
		}
	}
	return s.say(replies[0])
}

// Reset ends the transaction, and what XFORWARD said of it.
func (s *session) Reset() {
	s.open, s.utf8, s.sender, s.to, s.forward = false, false, mail.Path{}, nil, xforward{}
}

// Logout has nothing to free.
func (s *session) Logout() error { return nil }

// say gives r in place of go-smtp's reply to the command in hand, and makes
// go-smtp know whether the command failed.
func (s *session) say(r mail.Reply) error {
	s.wire.Answer(r)
	if r.Positive() {
		return nil
	}
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: smtp.EnhancedCode(r.Enhanced), Message: r.Text}
}

// take reads and stores the message, and returns the reply for each recipient.
func (s *session) take() []mail.Reply {
	began := s.server.o.Now()
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

// receive reads the message to its end, with its trace in front. The incoming is
// nil if there is an error.
func (s *session) receive(who identity, now time.Time) (*incoming, error) {
	in, err := s.server.store.begin()
	if err != nil {
		return nil, err
	}
	if _, err = in.Write(s.trace(who, now)); err == nil {
		_, err = s.wire.Body().WriteTo(&limited{w: in, max: s.server.o.MaxMessage})
	}
	if err != nil {
		in.discard()
		return nil, err
	}
	return in, nil
}

// trace is what final delivery puts in front (RFC 5321 section 4.4). Its id is
// the node's, if the message has one.
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
	return mail.AppendReceived(b, env, s.server.o.Hostname, "core")
}

// protocol is the word of RFC 3848 and RFC 6531 section 4.3 for the transaction.
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

// log writes the message's line. in is nil if it did not come to its end.
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
		slog.Float64("seconds", s.server.o.Now().Sub(began).Seconds()),
		slog.String("edge", s.wire.Client().String()),
		slog.String("client", s.forward.addr))
	if err != nil {
		s.server.o.Log.LogAttrs(context.Background(), slog.LevelWarn, "message not stored", append(line, slog.Any("err", err))...)
		return
	}
	s.server.o.Log.LogAttrs(context.Background(), slog.LevelInfo, "message stored", line...)
}

// storeReply is the reply to a fault of the store: never permanent, for the
// message is as good as it was.
func storeReply(err error) mail.Reply {
	if errors.Is(err, errFull) {
		return reply(452, 4, 3, 1, "no room for mail, try later")
	}
	return reply(451, 4, 3, 0, "could not store the message, try later")
}

// transferReply is the reply to what went wrong while the message came. wire
// closes the connection behind most of it.
func (s *session) transferReply(err error) mail.Reply {
	switch {
	case errors.Is(err, errTooBig):
		return s.tooBig()
	case errors.Is(err, wire.ErrBareCR), errors.Is(err, wire.ErrBareLF), errors.Is(err, wire.ErrNUL):
		return reply(554, 5, 6, 0, err.Error()+", closing")
	case errors.Is(err, wire.ErrSlow), errors.Is(err, wire.ErrAborted), errors.Is(err, wire.ErrGone):
		return reply(451, 4, 4, 2, "message was not sent to its end")
	}
	return storeReply(err)
}

func (s *session) tooBig() mail.Reply {
	return reply(552, 5, 3, 4, fmt.Sprintf("larger than the %d octets that are taken", s.server.o.MaxMessage))
}

var errTooBig = errors.New("message too big")

// limited stops a message that is larger than it may be.
type limited struct {
	w      io.Writer
	n, max int64 // octets that came and that may; max 0: no limit
}

func (l *limited) Write(p []byte) (int, error) {
	if l.n += int64(len(p)); l.max > 0 && l.n > l.max {
		return 0, errTooBig
	}
	return l.w.Write(p)
}

// cutPath reads the path behind "FROM:" or "TO:".
func cutPath(arg []byte, keyword string) (mail.Path, string, error) {
	if len(arg) < len(keyword) || !bytes.EqualFold(arg[:len(keyword)], []byte(keyword)) {
		return mail.Path{}, "", mail.ErrPath
	}
	return mail.CutPath(string(arg[len(keyword):]))
}
