// Package wire is the bytes of ingress: connections, command lines, messages, replies. It knows no SMTP
// beyond their framing; what a command means and what is answered is its caller's, a session of
// edge/ingress/smtpd.
//
// What happens to the data:
//
//  1. A Registry accepts connections, counts them, and refuses those that are over a cap. Each other one
//     becomes a Conn with a goroutine of its own. Open reads the PROXY header of those networks that
//     send one, and waits for the delay of the banner.
//  2. ReadCommand reads ahead into a pooled buffer and cuts lines from it. A line with a bare CR, a bare
//     LF or a NUL ends the connection: two servers could read it differently.
//  3. Replies are gathered, and go out in one write when nothing is left to read.
//  4. A Body passes the message on in whole runs, straight from the read buffer, without the dots of DATA
//     and with every line end checked. It holds the client to its deadlines and to a minimum rate. After a
//     fault inside DATA not one more byte is read: what follows could be taken for commands (SMTP
//     smuggling).
//
// A service can be taken out and back while its listeners stay open: Drain tells clients that are silent
// to go, lets transactions in flight end, and SetDraining(false) takes clients again. Close is the end.
//
// A connection that waits for a command holds no buffer.
package wire
