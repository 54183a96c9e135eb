// Package wire stands between the socket and go-smtp, so that go-smtp only
// ever sees clean SMTP, one command at a time, and never a byte of a message.
//
// What happens to the data:
//
//  1. A Listener accepts, counts, and refuses with 421 what is over a cap. From
//     the networks that may, a PROXY header says who the client really is.
//  2. A Conn reads ahead into a pooled buffer and cuts it into lines. A line
//     with a bare CR, a bare LF or a NUL ends the connection: two servers could
//     read it differently. STARTTLS, BDAT and what Settings.Command takes are
//     handled here; every other line is handed to go-smtp, one for each Read.
//  3. Until its first transaction a client is in the lobby, which says what
//     go-smtp would. A session is made when it leaves that.
//  4. What go-smtp writes is gathered and goes out in one write, when there is
//     nothing left to read. Before that the reply is looked at: refused
//     commands are counted, the EHLO reply gets its extensions.
//  5. Behind DATA the Conn stops giving bytes to go-smtp. The session reads the
//     message by Conn.Body, whole lines, unstuffed, with its own deadlines,
//     and go-smtp is then given the ".CRLF" that it waits for. BDAT looks like
//     DATA to go-smtp; the chunks are put together here.
//  6. After a fault inside a message not one more byte is read: what follows
//     could be taken for commands (SMTP smuggling).
//
// A service can be taken out and back while its listeners stay open: Drain
// tells clients that are silent 421, lets transactions in flight end, and
// SetDraining(false) takes clients again. Close is the end.
//
// A connection that waits for a command holds no buffer.
//
// The go-smtp Server is to have no line limit (MaxLineLength 0), no timeouts
// and no TLSConfig: these are wire's. Its sessions must take messages from
// Conn.Body, not from the reader that they are given.
package wire
