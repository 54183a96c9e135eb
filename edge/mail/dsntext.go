package mail

import (
	"bufio"
	"bytes"
	"strings"
)

// This file has the part of a notification for people: the same facts as the part for programs, in
// plain words.

var subjects = map[Action]string{
	ActionFailed:    "Your message could not be delivered",
	ActionExpired:   "Your message could not be delivered in time",
	ActionDelayed:   "Your message is delayed, we are still trying to deliver it",
	ActionDelivered: "Your message was delivered",
	ActionRelayed:   "Your message was relayed",
}

var openings = map[Action]string{
	ActionFailed:    "Your message could not be delivered to one or more recipients, and we will not try again. They are listed below, each with the reason.",
	ActionExpired:   "Your message could not be delivered in time to one or more recipients, and we have stopped trying. They are listed below, each with the most recent reason.",
	ActionDelayed:   "Your message has not yet been delivered to the recipients below. You don't need to send it again: we are still trying to deliver it, and will let you know if that fails.",
	ActionDelivered: "You asked for a confirmation: your message was delivered to the recipients below.",
	ActionRelayed:   "You asked for a confirmation: your message was relayed, for the recipients below, to a mail system that does not confirm deliveries. You may not receive another confirmation.",
}

// text returns the part for people. It is UTF-8 if an address or a reply is.
func (d *DSN) text() []byte {
	var text bytes.Buffer
	b := &dsnWriter{Writer: bufio.NewWriter(&text), hideRemote: d.HideRemote}
	worst := d.worst()
	us := "This is the mail system at " + d.Hostname
	if d.Node != "" {
		us += ", node " + d.Node
	}
	b.wrap("", us+".")
	b.line()
	b.wrap("", openings[worst])
	for i := range d.Recipients {
		b.line()
		b.recipient(d, &d.Recipients[i])
	}
	b.line()
	b.wrap("", "We received your message on "+d.Original.Arrived.UTC().Format(dateFormat)+
		" under the ID "+d.Original.ID.String()+". If you need help, please give this ID to your mail provider or administrator.")
	_ = b.Flush() // a bytes.Buffer never fails
	return text.Bytes()
}

// recipient writes the outcome for one recipient, and the reason.
func (b *dsnWriter) recipient(d *DSN, r *DSNRecipient) {
	b.line("<", clean(d.Original.Recipients[r.Result.Recipient].Path.String(), true), ">")
	if r.Action == ActionExpired {
		b.wrap("    ", "The message expired before it could be delivered (4.4.7).")
	}
	advice, f := r.explain(), r.Result.Failure
	who, reply := r.server(r.remote(), b.hideRemote), r.reply()
	switch {
	case reply.Code != 0 && f != nil && f.Command != "":
		b.wrap("    ", advice)
		b.quote(who+" replied to "+f.Command+":", reply.String())
	case reply.Code != 0:
		b.wrap("    ", advice)
		b.quote(who+" replied:", reply.String())
	case f == nil:
		b.wrap("    ", advice)
	default:
		cause := r.cause(b.hideRemote)
		if !strings.HasSuffix(cause, advice) { // unless the cause is the same text
			b.wrap("    ", advice)
		}
		b.quote("This mail system reports:", cause)
	}
	if e := r.Earlier; e != nil && e.Reply.Code != 0 {
		b.quote("At the previous attempt, "+lowerFirst(r.server(e.Remote, b.hideRemote))+" replied:", e.Reply.String())
	}
	if r.Action == ActionDelayed && !r.RetryUntil.IsZero() {
		b.wrap("    ", "We will keep trying until "+r.RetryUntil.UTC().Format(dateFormat)+".")
	}
}

// quote writes a quotation, indented, after an introduction.
func (b *dsnWriter) quote(intro, said string) {
	b.wrap("    ", intro)
	b.wrap("        ", said)
}

// server names the server that replied.
func (r *DSNRecipient) server(remote string, hide bool) string {
	if remote == "" || hide {
		return "The recipient's server"
	}
	return "The server " + remote
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// cause returns the status code of the failure and its reason. It is never "".
func (r *DSNRecipient) cause(hide bool) string {
	f, reason := r.Result.Failure, r.Reason
	if reason == "" && !hide && f.Cause != nil {
		reason = f.Cause.Error()
	}
	if strings.TrimSpace(clean(reason, true)) == "" {
		reason = adviceFor(f.Enhanced)
	}
	if f.Enhanced == (Enhanced{}) {
		return reason
	}
	return f.Enhanced.String() + " " + reason
}

// explain returns the advice for the recipient's status code. If a server's reply follows and the
// code has no specific subject (RFC 3463 section 3), it returns "". Without a reply it always
// returns a text.
func (r *DSNRecipient) explain() string {
	e, f := r.status(), r.Result.Failure
	if r.Action == ActionExpired && f != nil {
		e = f.Enhanced
	}
	if e[0] == 2 {
		return ""
	}
	if e[1] == 0 && r.reply().Code != 0 {
		return ""
	}
	return adviceFor(e)
}

// adviceFor returns the text for a code: for its detail, or else for its subject.
func adviceFor(e Enhanced) string {
	if s := advice[[2]int{e[1], e[2]}]; s != "" {
		return s
	}
	if s := subjectAdvice[e[1]]; s != "" {
		return s
	}
	return subjectAdvice[0]
}

// subjectAdvice holds the texts by subject, for codes that advice does not have.
var subjectAdvice = map[int]string{
	0: "The message could not be delivered.",
	1: "Something is wrong with the address.",
	2: "The mailbox can't accept the message.",
	3: "A mail system on the way to the recipient has a problem.",
	4: "The recipient's mail system could not be reached.",
	5: "The mail systems on the way to the recipient could not communicate properly.",
	6: "The recipient's mail system can't accept this kind of message.",
	7: "A rule of the recipient's mail system refused the message. Only the administrators of that system can change this.",
}

// advice holds the texts by subject and detail (RFC 3463 section 3, and the registry of RFC 5248).
var advice = map[[2]int]string{
	{1, 1}:  "There is no mailbox with this address. Please check its spelling.",
	{1, 2}:  "There is no mail system with this name. Please check the spelling after the @.",
	{1, 3}:  "The address is not valid. Please check its spelling.",
	{1, 6}:  "The mailbox has moved, and its new address is not known.",
	{1, 8}:  "Your own address was refused: it is not valid or does not exist.",
	{1, 10}: "This domain does not accept any mail. Please check the spelling after the @.",
	{2, 1}:  "The mailbox is disabled at the moment.",
	{2, 2}:  "The mailbox is full. Please contact the recipient in another way.",
	{2, 3}:  "The message is too large for the mailbox. Please send it in parts, or send a link.",
	{3, 1}:  "The recipient's mail system has no storage space left.",
	{3, 0}:  "A mail system on the way to the recipient had a problem.",
	{3, 4}:  "The message is too large for the recipient's mail system. Please send it in parts, or send a link.",
	{4, 1}:  "The recipient's mail system did not answer.",
	{4, 2}:  "The connection to the recipient's mail system was lost.",
	{4, 4}:  "No server was found that accepts mail for this domain.",
	{4, 6}:  "The message was caught in a loop between mail systems.",
	{4, 7}:  "The message expired before it could be delivered.",
	{6, 3}:  "The message has 8-bit text, which the recipient's mail system does not accept. Please send it in another encoding.",
	{6, 7}:  "The recipient's mail system does not accept letters other than a-z in addresses or header fields. Please use another address, or plain letters in the subject and names.",
	{7, 4}:  "The recipient's mail system does not offer the encryption that is required to send mail to it.",
	{7, 5}:  "The message may only be sent over verified encryption, and that failed on the way to the recipient's mail system.",
	{7, 10}: "The message may only be sent over verified encryption, and the recipient's mail system does not offer it.",
	{7, 30}: "The message may only be sent over verified encryption, and the recipient's mail system does not offer it.",
}

// wrap writes text cleaned, indented, and wrapped at 72 columns. It writes nothing for "".
func (b *dsnWriter) wrap(indent, text string) {
	const maxText = 2000
	col := 0
	for _, word := range strings.Fields(clean(cut(text, maxText), true)) {
		word = cut(word, maxLine-len(indent))
		switch {
		case col == 0:
			b.WriteString(indent)
			col = len(indent)
		case col+1+len(word) > 72:
			b.line()
			b.WriteString(indent)
			col = len(indent)
		default:
			b.WriteByte(' ')
			col++
		}
		b.WriteString(word)
		col += len(word)
	}
	if col > 0 {
		b.line()
	}
}
