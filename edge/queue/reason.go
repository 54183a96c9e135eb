package queue

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"anymx/edge/mail"
	"anymx/edge/spool"
)

// This file is pure: it finds the words for what a notification says.

// source is the failure to report. A courier may wrap the failure of a
// connection into its own; where a server replied to that, its reply says more.
func source(f *mail.Failure) *mail.Failure {
	var inner *mail.Failure
	if f == nil || f.Reply.Code != 0 || !errors.As(f.Cause, &inner) {
		return f
	}
	found := *source(inner)
	found.Enhanced, found.Permanent = f.Enhanced, f.Permanent
	return &found
}

// causes are the errors of a connection that have words of their own. The
// errors themselves may name addresses of core, which a stranger must not see.
var causes = []struct {
	err   error
	words string
}{
	{syscall.ECONNREFUSED, "connection refused"},
	{syscall.EHOSTUNREACH, "no route to host"},
	{syscall.ENETUNREACH, "network is unreachable"},
	{syscall.ECONNRESET, "connection reset by the other side"},
	{syscall.EPIPE, "connection closed by the other side"},
	{syscall.ETIMEDOUT, "no answer in time"},
	{os.ErrDeadlineExceeded, "no answer in time"},
	{context.DeadlineExceeded, "no answer in time"},
}

// reason is why f happened where no server replied, in words that anybody may
// read; "" leaves the words to the status code.
func reason(f *mail.Failure) string {
	if f == nil || f.Reply.Code != 0 || f.Cause == nil {
		return ""
	}
	if f.Permanent { // found here before anything was sent: it is about the message
		return f.Cause.Error()
	}
	for _, c := range causes {
		if errors.Is(f.Cause, c.err) {
			return c.words
		}
	}
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(f.Cause, &timeout) && timeout.Timeout():
		return "no answer in time"
	case f.Command == "STARTTLS" && f.Enhanced == mail.Enhanced{4, 4, 2}:
		return "TLS with the recipient's mail system failed"
	}
	return ""
}

// earlier is the failure of the last attempt, from what the spool holds of it
// (mail.Failure.Error); nil if no server replied then.
func earlier(st *spool.RecipientState) *mail.Failure {
	_, said, ok := strings.Cut(st.Last, " failure: ")
	code, text, _ := strings.Cut(said, " ")
	n, err := strconv.Atoi(code)
	if !ok || err != nil || len(code) != len("450") || n < 400 {
		return nil
	}
	return &mail.Failure{Reply: mail.Reply{Code: n, Text: text}, Permanent: n >= 500}
}
