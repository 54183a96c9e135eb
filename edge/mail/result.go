package mail

// Failure is why a try did not deliver. It is an error, and the typed value
// that queue, notifications and logs read; test for it with errors.As.
type Failure struct {
	// Reply is what the other side said; zero if it said nothing (refused
	// connection, timeout, broken TLS).
	Reply Reply
	// Enhanced is the status to report: the reply's own, or one that stands for
	// the cause, such as 4.4.1 for "no answer from host". Never zero.
	Enhanced Enhanced
	// Permanent is set when trying again as it is can't help.
	Permanent bool
	// Command is what was being said: "CONNECT", "STARTTLS", "MAIL", "RCPT",
	// "DATA" ... "" if nothing was.
	Command string
	// Remote is the server, as "host[192.0.2.1]:25"; "" if none was reached.
	Remote string
	// Cause is the error beneath, if any.
	Cause error
}

// Error is one line for logs and notifications.
func (f *Failure) Error() string {
	s := "temporary failure"
	if f.Permanent {
		s = "permanent failure"
	}
	if f.Command != "" {
		s = f.Command + ": " + s
	}
	if f.Remote != "" {
		s = f.Remote + ": " + s
	}
	switch {
	case f.Reply.Code != 0:
		s += ": " + f.Reply.String()
	case f.Cause != nil:
		s += ": " + f.Enhanced.String() + " " + clean(f.Cause.Error(), true)
	default:
		s += ": " + f.Enhanced.String()
	}
	return s
}

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// Result is the end of one try for one recipient.
type Result struct {
	// Recipient is the index into the envelope's Recipients.
	Recipient int
	// Failure is nil when the recipient was delivered.
	Failure *Failure
	// Reply is the reply that took responsibility, when delivered.
	Reply Reply
	// Remote is the server that took it, as in Failure.
	Remote string
	// Relayed is set when a delivered recipient went to a server without the
	// DSN extension, so that a success notification is ours to write (RFC 3461
	// section 5.2.2).
	Relayed bool
}
