package mail

import (
	"bufio"
	"bytes"
	"strings"
)

// What a notification says to people. Plain words, and the same facts as the
// part for programs.

var subjects = map[Action]string{
	ActionFailed:    "Your message could not be delivered",
	ActionExpired:   "Your message could not be delivered in time",
	ActionDelayed:   "Your message is delayed, delivery is still being attempted",
	ActionDelivered: "Your message was delivered",
	ActionRelayed:   "Your message was passed on",
}

var openings = map[Action]string{
	ActionFailed:    "I am sorry to say that your message could not be delivered to one or more recipients, and that no further attempt will be made. They are listed below, each with the reason.",
	ActionExpired:   "I am sorry to say that your message could not be delivered to one or more recipients in all the time that it was attempted, and that no further attempt will be made. They are listed below, each with the last reason.",
	ActionDelayed:   "Your message has not been delivered yet to the recipients below. You need not send it again: delivery is still being attempted, and you will hear if it fails.",
	ActionDelivered: "As you asked to be told: your message was delivered to the recipients below.",
	ActionRelayed:   "As you asked to be told: your message was passed on for the recipients below, to a mail system that does not tell of deliveries. You may hear no more of it.",
}

// text is the part for people. It is UTF-8 where an address or a reply is.
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
	b.wrap("", "Your message arrived here on "+d.Original.Arrived.UTC().Format(dateFormat)+
		" and is known here as "+d.Original.ID.String()+". Give that name to the people who run your mail if you ask for help.")
	_ = b.Flush() // a bytes.Buffer takes everything
	return text.Bytes()
}

// recipient says what became of one recipient, and why.
func (b *dsnWriter) recipient(d *DSN, r *DSNRecipient) {
	b.line("<", clean(d.Original.Recipients[r.Result.Recipient].Path.String(), true), ">")
	if r.Action == ActionExpired {
		b.wrap("    ", "The message expired: it could not be delivered in all the time that it was attempted (4.4.7).")
	}
	advice, f := r.explain(), r.Result.Failure
	who, reply := r.server(r.remote(), b.hideRemote), r.reply()
	switch {
	case reply.Code != 0 && f != nil && f.Command != "":
		b.wrap("    ", advice)
		b.quote(who+" answered to "+f.Command+":", reply.String())
	case reply.Code != 0:
		b.wrap("    ", advice)
		b.quote(who+" answered:", reply.String())
	case f == nil:
		b.wrap("    ", advice)
	default:
		cause := r.cause(b.hideRemote)
		if !strings.HasSuffix(cause, advice) { // it is not the advice itself
			b.wrap("    ", advice)
		}
		b.quote("This mail system reports:", cause)
	}
	if e := r.Earlier; e != nil && e.Reply.Code != 0 {
		b.quote("At the last attempt before that, "+lowerFirst(r.server(e.Remote, b.hideRemote))+" answered:", e.Reply.String())
	}
	if r.Action == ActionDelayed && !r.RetryUntil.IsZero() {
		b.wrap("    ", "Delivery will be attempted until "+r.RetryUntil.UTC().Format(dateFormat)+".")
	}
}

// quote writes what was said below an introduction.
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

// cause is the failure's status code and its reason, never "".
func (r *DSNRecipient) cause(hide bool) string {
	f, reason := r.Result.Failure, r.Reason
	if reason == "" && !hide && f.Cause != nil {
		reason = f.Cause.Error()
	}
	if strings.TrimSpace(clean(reason, true)) == "" {
		reason = words(f.Enhanced)
	}
	if f.Enhanced == (Enhanced{}) {
		return reason
	}
	return f.Enhanced.String() + " " + reason
}

// explain turns a status code into advice. A server's reply follows it, so that
// it says nothing where the code says nothing (RFC 3463 section 3); without a
// reply it always says something.
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
	return words(e)
}

// words are the advice for a code: for its detail, or else for its subject.
func words(e Enhanced) string {
	if s := advice[[2]int{e[1], e[2]}]; s != "" {
		return s
	}
	if s := subjectAdvice[e[1]]; s != "" {
		return s
	}
	return subjectAdvice[0]
}

// subjectAdvice is for the codes of a subject that advice does not have.
var subjectAdvice = map[int]string{
	0: "The message could not be passed on.",
	1: "Something is wrong with the address.",
	2: "The mailbox can't take the message.",
	3: "A mail system on the way to the recipient has a fault of its own.",
	4: "The recipient's mail system could not be reached.",
	5: "The mail systems on the way to the recipient did not understand each other.",
	6: "The recipient's mail system can't take a message of this form.",
	7: "The message was refused by a rule of the recipient's mail system. Whether it can be lifted, only those who run that system can tell.",
}

// advice by subject and detail (RFC 3463 section 3, and the registry that RFC
// 5248 opened).
var advice = map[[2]int]string{
	{1, 1}:  "There is no mailbox of that name. Please look for a spelling mistake in the address.",
	{1, 2}:  "There is no mail system of that name. Please look for a spelling mistake behind the @.",
	{1, 3}:  "The address is not well formed. Please look for a mistake in it.",
	{1, 6}:  "The mailbox has moved, and left no new address.",
	{1, 8}:  "Your own address was refused: it is not well formed or does not exist.",
	{1, 10}: "That domain accepts no mail at all. Please look for a spelling mistake behind the @.",
	{2, 1}:  "The mailbox is closed for the time being.",
	{2, 2}:  "The mailbox is full. Please tell the recipient in some other way.",
	{2, 3}:  "The message is larger than the mailbox accepts. Please send it in parts, or as a link.",
	{3, 1}:  "The recipient's mail system has no room left.",
	{3, 0}:  "A mail system on the way to the recipient had a fault of its own.",
	{3, 4}:  "The message is larger than the recipient's mail system accepts. Please send it in parts, or as a link.",
	{4, 1}:  "The recipient's mail system did not answer.",
	{4, 2}:  "The connection to the recipient's mail system broke.",
	{4, 4}:  "No server was found that takes mail for that domain.",
	{4, 6}:  "The message was going round in circles between mail systems.",
	{4, 7}:  "The message could not be delivered in all the time that it was attempted.",
	{6, 3}:  "The message has 8-bit text, which the recipient's mail system does not take. Please send it in another encoding.",
	{6, 7}:  "The recipient's mail system does not take letters beyond a-z in addresses or header fields. Please use another address, or other header fields.",
	{7, 4}:  "The recipient's mail system does not offer the encryption that is required on the way to it.",
	{7, 5}:  "The message was to travel over verified encryption only, and that failed on the way to the recipient's mail system.",
	{7, 10}: "The message was to travel over verified encryption only, and the recipient's mail system does not offer it.",
	{7, 30}: "The message was to travel over verified encryption only, and the recipient's mail system does not offer it.",
}

// wrap writes text cleaned, indented and broken at spaces; nothing for "".
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
