package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"anymx/edge/mail"

	"github.com/emersion/go-smtp"
)

// session is the session of one edge. go-smtp creates it at the first EHLO or LHLO and calls it in
// the order of the commands. It takes a BDAT message in a goroutine of its own, and may reset the
// session meanwhile.
type session struct {
	server *Server
	smtp   *smtp.Conn
	conn   *conn

	chunks Chunks

	mu sync.Mutex
	envelope
}

// envelope is what XFORWARD, MAIL and RCPT have said. In the zero envelope no transaction is open.
type envelope struct {
	forward xforward
	open    bool
	proto   string // as named by RFC 3848 and RFC 6531 section 4.3
	sender  mail.Path
	to      []mail.Path
	words   []string // the recipients, as go-smtp names them
}

func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	conn, ok := c.Conn().(*conn)
	if !ok {
		return nil, errors.New("connection is not from a listener of core")
	}
	conn.session = &session{server: s, smtp: c, conn: conn}
	return conn.session, nil
}

func (s *session) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// Mail opens a transaction.
func (s *session) Mail(_ string, opts *smtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		return refusal(reply(503, 5, 5, 1, "nested MAIL command"))
	}
	sender, _, err := cutPath(s.conn.arg, "FROM:") // go-smtp's text has lost its quotes
	if err != nil {
		return refusal(reply(501, 5, 1, 7, err.Error()))
	}
	if max := s.server.options.MaxMessage; max > 0 && opts.Size > max {
		return refusal(s.tooBig())
	}
	if err := s.server.store.accepting(opts.Size); err != nil {
		s.server.options.Log.Warn("mail refused temporarily", "err", err)
		return refusal(storeReply(err))
	}
	s.open, s.proto, s.sender = true, protocol(s.conn.hello, opts.UTF8), sender
	return nil
}

// Rcpt adds a recipient. Its mailbox is created when the message is stored.
func (s *session) Rcpt(word string, _ *smtp.RcptOptions) error {
	to, _, err := cutPath(s.conn.arg, "TO:")
	if err != nil || to.IsNull() {
		return refusal(reply(501, 5, 1, 3, "malformed address"))
	}
	if to.Domain == "" {
		to.Domain = s.server.options.Hostname // of a bare postmaster
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.to, s.words = append(s.to, to), append(s.words, word)
	return nil
}

// Data stores the message.
func (s *session) Data(r io.Reader) error {
	s.chunks.Watch(r)
	replies := s.storeMessage(s.current(), r)
	for _, answer := range replies {
		if !answer.Positive() {
			return refusal(answer) // for all recipients, which will all be attempted again
		}
	}
	return refusal(replies[0])
}

// LMTPData stores the message, and sets the reply of each recipient (RFC 2033 section 4.2).
func (s *session) LMTPData(r io.Reader, status smtp.StatusCollector) error {
	s.chunks.Watch(r)
	t := s.current()
	for i, answer := range s.storeMessage(t, r) {
		status.SetStatus(t.words[i], refusal(answer))
	}
	return nil
}

// current returns a copy of the transaction, for a message that may outlast it.
func (s *session) current() envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.envelope
}

// Reset ends the transaction and clears its XFORWARD attributes.
func (s *session) Reset() {
	s.chunks.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.envelope = envelope{}
}

// Logout has nothing to free.
func (s *session) Logout() error { return nil }

// refusal makes r an error for go-smtp, which also sends the text of a positive one.
func refusal(r mail.Reply) error {
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: smtp.EnhancedCode(r.Enhanced), Message: r.Text}
}

// forwarded answers XFORWARD.
func (s *session) forwarded(arg string) mail.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.open:
		return reply(503, 5, 5, 1, "XFORWARD is not allowed in a transaction")
	case s.forward.set(arg) != nil:
		return reply(501, 5, 5, 4, "bad XFORWARD attributes")
	}
	return reply(250, 2, 0, 0, "Ok")
}

// storeMessage reads and stores the message of t, and returns the reply for each recipient.
func (s *session) storeMessage(t envelope, r io.Reader) []mail.Reply {
	began := s.server.options.Now()
	who, _ := parseIdentity(t.forward.ident)
	in, err := s.receive(t, who, began, r)
	if err != nil {
		// go-smtp has an answer for each recipient of LMTP only if the message was read.
		_, _ = io.Copy(io.Discard, r)
		s.log(t, began, in, len(t.to), err)
		return slices.Repeat([]mail.Reply{s.transferReply(err)}, len(t.to))
	}
	defer in.discard()
	replies := make([]mail.Reply, len(t.to))
	failed, first := 0, error(nil)
	for i, err := range in.keep(who, t.to, s.conn.hello != "LHLO") {
		if err == nil {
			replies[i] = reply(250, 2, 0, 0, "stored")
			continue
		}
		replies[i] = storeReply(err)
		first = cmp.Or(first, err)
		failed++
	}
	s.log(t, began, in, failed, first)
	return replies
}

// receive reads the message to its end, with its trace fields in front. The incoming is nil on an
// error.
func (s *session) receive(t envelope, who identity, now time.Time, r io.Reader) (*incoming, error) {
	in, err := s.server.store.newIncoming()
	if err != nil {
		return nil, err
	}
	if _, err = in.Write(s.trace(t, who, now)); err == nil {
		_, err = io.Copy(&limited{w: in, max: s.server.options.MaxMessage}, r)
	}
	if err == nil {
		err = s.conn.text.fault
	}
	if err != nil {
		in.discard()
		return nil, err
	}
	return in, nil
}

// trace returns the header fields that final delivery adds (RFC 5321 section 4.4). The id is that
// of the node, if the message has one.
func (s *session) trace(t envelope, who identity, now time.Time) []byte {
	env := &mail.Envelope{ID: who.id, Arrived: now, Client: mail.Client{
		Addr: s.edge(), Helo: s.smtp.Hostname(), Proto: t.proto,
	}}
	if who.isNone() {
		env.ID = s.server.ids.Next(now)
	}
	if len(t.to) == 1 {
		env.Recipients = []mail.Recipient{{Path: t.to[0]}}
	}
	b := mail.AppendReturnPath(make([]byte, 0, 512), t.sender)
	return mail.AppendReceived(b, env, s.server.options.Hostname, "core")
}

// edge returns the address of the edge; the zero AddrPort if it did not connect by TCP.
func (s *session) edge() netip.AddrPort {
	tcp, ok := s.conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	from := tcp.AddrPort()
	return netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())
}

// protocol returns the name of a transaction's protocol, by the verb of its greeting.
func protocol(hello string, utf8 bool) string {
	switch {
	case hello == "LHLO" && utf8:
		return "UTF8LMTP"
	case hello == "LHLO":
		return "LMTP"
	case utf8:
		return "UTF8SMTP"
	case hello == "HELO":
		return "SMTP"
	}
	return "ESMTP"
}

// log writes the log line of the message. in is nil if it was not received completely.
func (s *session) log(t envelope, began time.Time, in *incoming, failed int, err error) {
	line := []slog.Attr{
		slog.String("ident", t.forward.ident),
		slog.String("from", t.sender.String()),
		slog.String("to", t.to[0].String()),
		slog.Int("recipients", len(t.to)),
		slog.Int("failed", failed),
	}
	if in != nil {
		line = append(line, slog.Int64("size", in.size), slog.Int("duplicates", in.duplicates))
	}
	line = append(line,
		slog.Float64("seconds", s.server.options.Now().Sub(began).Seconds()),
		slog.String("edge", s.edge().String()),
		slog.String("client", t.forward.addr))
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

// transferReply returns the reply to an error while the message was received.
func (s *session) transferReply(err error) mail.Reply {
	var smtpErr *smtp.SMTPError
	switch {
	case errors.Is(err, errTooBig):
		return s.tooBig()
	case errors.As(err, &smtpErr): // a fault of the message
		return mail.Reply{Code: smtpErr.Code, Enhanced: mail.Enhanced(smtpErr.EnhancedCode), Text: smtpErr.Message}
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, smtp.ErrDataReset):
		return reply(451, 4, 4, 2, "message was not received completely")
	}
	return storeReply(err)
}

func (s *session) tooBig() mail.Reply {
	return reply(552, 5, 3, 4, fmt.Sprintf("message size exceeds the limit of %d bytes", s.server.options.MaxMessage))
}

var errTooBig = errors.New("message too big")

// limited stops a message that exceeds the size limit. go-smtp's own limit has one answer for all
// recipients of LMTP.
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
func cutPath(arg, keyword string) (mail.Path, string, error) {
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return mail.Path{}, "", mail.ErrPath
	}
	return mail.CutPath(arg[len(keyword):])
}
