package smtpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"anymx/edge/mail"
)

// Errors to test for with errors.Is in what Dial and Send return.
var (
	// ErrProtocol is wrapped by failures of a server that broke the protocol: it sent something
	// other than a reply, or a reply that doesn't fit the command.
	ErrProtocol = errors.New("protocol error")
	// ErrContent is wrapped by failures to read the message from the spool. The server is not the
	// cause.
	ErrContent = errors.New("message could not be read")
	// ErrUsedUp is wrapped by the failures of recipients for whom this connection allows no further
	// transaction (MAILMAX of RFC 9422). Another connection does.
	ErrUsedUp = errors.New("connection has no transaction left")
	// ErrLacks is wrapped by the failure of a message or a recipient that needs an extension which
	// the server doesn't offer. Another server may offer it.
	ErrLacks = errors.New("server lacks a required extension")
	// ErrClosed is wrapped by the failure of a Send after Close.
	ErrClosed = errors.New("connection was closed by this client")

	errHangup = errors.New("connection closed by the server")
	errBareLF = errors.New("line feed without carriage return before a dot")
	errSize   = errors.New("message does not have its declared size")
)

// The commands that Failure.Command names.
const (
	cmdConnect  = "CONNECT" // including the greeting
	cmdEHLO     = "EHLO"    // HELO and LHLO too
	cmdSTARTTLS = "STARTTLS"
	cmdXCLIENT  = "XCLIENT"
	cmdXFORWARD = "XFORWARD"
	cmdRSET     = "RSET"
	cmdMAIL     = "MAIL"
	cmdRCPT     = "RCPT"
	cmdDATA     = "DATA"     // BDAT and the body too
	cmdDataEnd  = "DATA end" // after the message's last byte
)

// DataEnd is the Failure.Command of a message that was sent completely. If there is no Reply, it
// may have been delivered.
const DataEnd = cmdDataEnd

// refused returns the failure for a reply of 4xx or 5xx.
func (c *Conn) refused(command string, r *reply) *mail.Failure {
	f := &mail.Failure{
		Reply:     r.mail(),
		Enhanced:  r.enhanced,
		Permanent: r.code >= 500,
		Command:   command,
		Remote:    c.remote,
	}
	if f.Enhanced == (mail.Enhanced{}) {
		f.Enhanced[0] = r.code / 100 // RFC 3463: x.0.0, no further detail is known
	}
	return f
}

// lost returns the failure for an error of the stream.
func (c *Conn) lost(command string, err error) *mail.Failure {
	f := &mail.Failure{Enhanced: mail.Enhanced{4, 4, 2}, Command: command, Remote: c.remote, Cause: err}
	switch {
	case errors.Is(err, ErrProtocol):
		f.Enhanced = mail.Enhanced{4, 5, 0}
	case c.ctx != nil && c.ctx.Err() != nil:
		f.Cause = context.Cause(c.ctx)
	case errors.Is(err, io.ErrUnexpectedEOF):
		f.Cause = errHangup
	}
	return f
}

// unfit returns the failure for a reply that doesn't fit its command.
func (c *Conn) unfit(command string, r *reply) *mail.Failure {
	return c.lost(command, fmt.Errorf("%w: %s", errReplyUnfit, r.mail()))
}

// local returns a failure that this client found without the server.
func (c *Conn) local(command string, enhanced mail.Enhanced, cause error) *mail.Failure {
	return &mail.Failure{
		Enhanced: enhanced, Permanent: enhanced[0] == 5, Command: command, Remote: c.remote, Cause: cause,
	}
}

// protocolError is an error that matches ErrProtocol.
type protocolError string

func (e protocolError) Error() string      { return string(e) }
func (protocolError) Is(target error) bool { return target == ErrProtocol }

// lacksError is an error that matches ErrLacks.
type lacksError string

func (e lacksError) Error() string      { return string(e) }
func (lacksError) Is(target error) bool { return target == ErrLacks }

// isHangup reports whether the server closed or reset the connection.
func isHangup(f *mail.Failure) bool {
	return f.Cause == errHangup || errors.Is(f.Cause, syscall.ECONNRESET) || errors.Is(f.Cause, syscall.EPIPE)
}

// IsTimeout reports whether f is a timeout of the server, as opposed to a refusal or a hangup.
func IsTimeout(f *mail.Failure) bool {
	return f != nil && f.Reply.Code == 0 && errors.Is(f.Cause, os.ErrDeadlineExceeded)
}
