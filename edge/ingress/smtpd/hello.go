package smtpd

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"anymx/edge/judge/policy"
	"anymx/edge/judge/replies"
	"anymx/edge/mail"
)

// maxHelo bounds the name that a client gives itself: a domain name has at most 255 bytes (RFC 5321
// section 4.5.3.1.2).
const maxHelo = 255

// helo answers EHLO and HELO, which begin the session again (RFC 5321 section 4.1.4).
func (s *session) helo() {
	name, _, _ := bytes.Cut(s.cmd.Arg, []byte{' '})
	if len(name) == 0 || len(s.cmd.Arg) > maxHelo {
		s.answer(replies.NeedsDomain.With(s.cmd.Verb))
		return
	}
	s.forgetGreeting()
	s.heloName = string(name)
	if refusal := s.check(policy.AtHelo); refusal.Code != 0 {
		s.refuse("helo", mail.Path{}, mail.Path{}, refusal)
		return
	}
	s.greeting = s.cmd.Verb
	if s.cmd.Verb == "HELO" {
		s.answer(replies.Greeting.With(s.rules.Hostname))
		return
	}
	s.answer(replies.Greeting.With(s.offers()))
}

// offers returns the lines of EHLO's reply.
func (s *session) offers() string {
	var b strings.Builder
	b.Grow(256)
	b.WriteString(s.rules.Hostname)
	line := func(keyword string) {
		b.WriteByte('\n')
		b.WriteString(keyword)
	}
	tls := s.conn.TLS() != nil
	if !tls && s.settings.Wire.TLS != nil {
		line("STARTTLS")
	}
	if limits := limitsOf(s.rules.MaxMessages, s.rules.MaxRecipients); limits != "" {
		line(limits)
	}
	if tls {
		line("REQUIRETLS") // RFC 8689: under TLS alone
	}
	offer := s.server.options.Core().Offer()
	line("PIPELINING")
	if offer.Has(mail.EightBitMIME) {
		line("8BITMIME")
	}
	line("ENHANCEDSTATUSCODES")
	if !s.settings.NoChunking {
		line("CHUNKING")
	}
	if offer.Has(mail.SMTPUTF8) {
		line("SMTPUTF8")
	}
	line("DSN")
	if most := s.rules.MaxMessage; most > 0 {
		line("SIZE " + strconv.FormatInt(most, 10))
	} else {
		line("SIZE")
	}
	return b.String()
}

// limitsOf returns the keyword of RFC 9422, "" without limits.
func limitsOf(messages, recipients int) string {
	var b strings.Builder
	if messages > 0 {
		fmt.Fprintf(&b, " MAILMAX=%d", messages)
	}
	if recipients > 0 {
		fmt.Fprintf(&b, " RCPTMAX=%d", recipients)
	}
	if b.Len() == 0 {
		return ""
	}
	return "LIMITS" + b.String()
}

// startTLS answers STARTTLS. What was said before it came from anybody, so it is forgotten.
func (s *session) startTLS() {
	switch {
	case s.settings.Wire.TLS == nil:
		s.answer(replies.NoStartTLS.Reply)
	case s.conn.TLS() != nil:
		s.answer(replies.TLSActive.Reply)
	case len(s.cmd.Arg) > 0:
		s.answer(replies.NoArguments.With("STARTTLS"))
	case s.conn.Buffered():
		// What follows STARTTLS in plaintext was put there by somebody who wants it to be taken for part
		// of the encrypted session.
		s.end("pipelining", replies.AfterStartTLS.Reply)
	default:
		s.answer(replies.StartTLS.Reply)
		if s.conn.StartTLS() {
			s.forgetGreeting()
		}
	}
}
