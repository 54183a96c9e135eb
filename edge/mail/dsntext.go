package mail

import "strings"

// What a notification says to people. Plain words, and the same facts as the
// part for programs.

var subjects = map[Action]string{
	ActionFailed:    "Your message could not be delivered",
	ActionExpired:   "Your message could not be delivered in time",
	ActionDelayed:   "Your message is delayed, delivery is still being tried",
	ActionDelivered: "Your message was delivered",
	ActionRelayed:   "Your message was passed on",
}

var openings = map[Action]string{
	ActionFailed:    "I am sorry to say that your message could not be delivered to one or more recipients, and that no further attempt will be made. They are listed below, each with the reason.",
	ActionExpired:   "I am sorry to say that your message could not be delivered to one or more recipients in all the time that it was tried, and that no further attempt will be made. They are listed below, each with the last reason.",
	ActionDelayed:   "Your message has not been delivered yet to the recipients below. You need not send it again: delivery is still being tried, and you will hear if it fails.",
	ActionDelivered: "As you asked to be told: your message was delivered to the recipients below.",
	ActionRelayed:   "As you asked to be told: your message was passed on for the recipients below, to a mail system that does not tell of deliveries. You may hear no more of it.",
}

// people writes the part for people.
func (b *dsnWriter) people(d *DSN, boundary string) {
	b.part(boundary, "text/plain; charset=us-ascii", "text/plain; charset=utf-8", b.utf8ok)
	worst := d.worst()
	us := "This is the mail system at " + d.Hostname
	if d.Node != "" {
		us += ", node " + d.Node
	}
	b.wrap("", us+".")
	b.line()
	b.wrap("", openings[worst])
	for i := range d.Recipients {
		r := &d.Recipients[i]
		b.line()
		b.line("<", d.Original.Recipients[r.Result.Recipient].Path.String(), ">")
		b.wrap("    ", r.explain())
		intro, said := r.said(b.hideRemote)
		b.wrap("    ", intro)
		b.wrap("        ", said)
		if r.Action == ActionDelayed && !r.RetryUntil.IsZero() {
			b.wrap("    ", "Delivery will be tried until "+r.RetryUntil.UTC().Format(dateFormat)+".")
		}
	}
	b.line()
	b.wrap("", "Your message arrived here on "+d.Original.Arrived.UTC().Format(dateFormat)+
		" and is known here as "+d.Original.ID.String()+". Tell that name to whoever runs your mail if you ask for help.")
}

// said quotes the server's words, or tells what went wrong on our side of it.
func (r *DSNRecipient) said(hide bool) (intro, said string) {
	f, reply := r.Result.Failure, r.reply()
	who := "The recipient's server"
	if remote := r.remote(); remote != "" && !hide {
		who = "The server " + remote
	}
	switch {
	case reply.Code != 0 && f != nil && f.Command != "":
		return who + " answered to " + f.Command + ":", reply.String()
	case reply.Code != 0:
		return who + " answered:", reply.String()
	case f != nil && f.Cause != nil && !hide:
		return "What happened:", f.Cause.Error()
	}
	return "", ""
}

// explain turns a status code into advice. The remote's own text follows it,
// so it says nothing where the code says nothing (RFC 3463 section 3).
func (r *DSNRecipient) explain() string {
	e := r.status()
	if r.Action == ActionExpired && r.Result.Failure != nil {
		e = r.Result.Failure.Enhanced
	}
	if s := advice[[2]int{e[1], e[2]}]; s != "" && e[0] != 2 {
		return s
	}
	switch {
	case e[0] == 2 || e[1] == 0:
		return ""
	case e[1] == 7:
		return "The message was refused by a rule of the recipient's mail system. Whether it can be lifted, only those who run that system can tell."
	case e[1] == 4:
		return "The recipient's mail system could not be reached."
	}
	return ""
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
	{3, 4}:  "The message is larger than the recipient's mail system accepts. Please send it in parts, or as a link.",
	{4, 1}:  "The recipient's mail system did not answer.",
	{4, 2}:  "The connection to the recipient's mail system broke.",
	{4, 4}:  "No server was found that takes mail for that domain.",
	{4, 6}:  "The message was going round in circles between mail systems.",
	{4, 7}:  "The message could not be delivered in all the time that it was tried.",
	{6, 7}:  "The recipient's mail system does not take addresses with letters beyond a-z. Please use another address.",
	{7, 10}: "The message was to travel over verified encryption only, and the recipient's mail system does not offer it.",
	{7, 30}: "The message was to travel over verified encryption only, and the recipient's mail system does not offer it.",
}

// wrap writes text cleaned, indented and broken at spaces; nothing for "".
func (b *dsnWriter) wrap(indent, text string) {
	const maxText = 2000
	col := 0
	for _, word := range strings.Fields(clean(cut(text, maxText), b.utf8ok)) {
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
