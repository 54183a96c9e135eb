package mail

// Failure is why an attempt did not deliver. Queue, notifications and logs read it; test for it
// with errors.As.
type Failure struct {
	// Reply is the server's reply; zero if there was none (connection refused, timeout, TLS
	// failure).
	Reply Reply
	// Enhanced is the status to report: that of the reply, or one for the cause, such as 4.4.1 for
	// "no answer from host". Never zero.
	Enhanced Enhanced
	// Permanent is set when another attempt can't succeed.
	Permanent bool
	// Command is the command that failed: "CONNECT", "STARTTLS", "MAIL", "RCPT", "DATA" ... "" if
	// none was sent.
	Command string
	// Remote is the server, as "host[192.0.2.1]:25"; "" if none was reached.
	Remote string
	// Cause is the underlying error, if any.
	Cause error
}

// Error returns one line for logs and notifications.
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

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Cause }

// Result is the outcome of one attempt for one recipient.
type Result struct {
	// Recipient is the index into the envelope's Recipients.
	Recipient int
	// Failure is nil when the recipient was delivered.
	Failure *Failure
	// Reply is the reply by which the server took responsibility, if delivered.
	Reply Reply
	// Remote is the server that accepted the message, as in Failure.
	Remote string
	// Relayed is set when a recipient was delivered to a server without the DSN extension, so that
	// this node has to write a success notification (RFC 3461 section 5.2.2).
	Relayed bool
}
