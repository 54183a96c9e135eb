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
	// ErrProtocol is beneath a failure where the server broke the protocol: an
	// answer that is no reply, or not one to what was said.
	ErrProtocol = errors.New("protocol error")
	// ErrContent is beneath a failure to read the message here. The server is
	// not to blame.
	ErrContent = errors.New("message could not be read")
	// ErrUsedUp is beneath the failure of recipients for whom this connection
	// has no transaction left (MAILMAX of RFC 9422). Another connection has.
	ErrUsedUp = errors.New("connection has no transaction left")
	// ErrLacks is beneath the failure of a message or a recipient that needs an
	// extension which the server does not offer. Another server may.
	ErrLacks = errors.New("server lacks an extension that is needed")
	// ErrClosed is beneath the failure of a Send after Close.
	ErrClosed = errors.New("connection was closed here")

	errHangup = errors.New("connection closed by the other side")
	errBareLF = errors.New("line feed without carriage return before a dot")
	errSize   = errors.New("message is not as long as it was said to be")
)

// The commands that Failure.Command names.
const (
	cmdConnect  = "CONNECT" // the greeting included
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

// DataEnd is the Failure.Command of a message that was sent whole. Where the
// server gave no Reply, it may have been delivered.
const DataEnd = cmdDataEnd

// refused is the failure that a reply of 4xx or 5xx makes.
func (c *Conn) refused(command string, r *reply) *mail.Failure {
	f := &mail.Failure{
		Reply:     r.mail(),
		Enhanced:  r.enhanced,
		Permanent: r.code >= 500,
		Command:   command,
		Remote:    c.remote,
	}
	if f.Enhanced == (mail.Enhanced{}) {
		f.Enhanced[0] = r.code / 100 // RFC 3463: x.0.0, nothing more is known
	}
	return f
}

// lost is the failure that an error of the stream makes.
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

// unfit is the failure of a reply that can't be one to what was said.
func (c *Conn) unfit(command string, r *reply) *mail.Failure {
	return c.lost(command, fmt.Errorf("%w: %s", errReplyUnfit, r.mail()))
}

// local is a failure found here, before or without the server.
func (c *Conn) local(command string, enhanced mail.Enhanced, cause error) *mail.Failure {
	return &mail.Failure{
		Enhanced: enhanced, Permanent: enhanced[0] == 5, Command: command, Remote: c.remote, Cause: cause,
	}
}

// protocolError is an error that is ErrProtocol.
type protocolError string

func (e protocolError) Error() string      { return string(e) }
func (protocolError) Is(target error) bool { return target == ErrProtocol }

// lacksError is an error that is ErrLacks.
type lacksError string

func (e lacksError) Error() string      { return string(e) }
func (lacksError) Is(target error) bool { return target == ErrLacks }

// isHangup says whether f is a connection that the server closed or reset.
func isHangup(f *mail.Failure) bool {
	return f.Cause == errHangup || errors.Is(f.Cause, syscall.ECONNRESET) || errors.Is(f.Cause, syscall.EPIPE)
}

// IsTimeout says whether f is a server that did not answer in time, as opposed
// to one that refused or hung up.
func IsTimeout(f *mail.Failure) bool {
	return f != nil && f.Reply.Code == 0 && errors.Is(f.Cause, os.ErrDeadlineExceeded)
}
