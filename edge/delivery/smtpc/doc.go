// Package smtpc is the SMTP (RFC 5321) and LMTP (RFC 2033) client of all couriers.
//
// What happens to the data:
//
//  1. Dial connects, reads the greeting, sends EHLO (HELO to a server without EHLO, LHLO for LMTP),
//     starts TLS as the mode requires, forgets everything the server said in plaintext, and sends
//     EHLO again.
//  2. Send takes one message and its pending recipients, and splits them into as few transactions
//     as the server's limits allow. A message that the server can't handle fails here, before a
//     byte is sent: a message over its SIZE, declared 8-bit text without 8BITMIME, UTF-8 in the
//     header or a local part without SMTPUTF8, REQUIRETLS without verified TLS. What counts is what
//     the message needs, not what its sender declared: ASCII mail goes to every server, and
//     U-labels go as A-labels where there is no SMTPUTF8. Messages are never rewritten (no
//     downgrade to 7 bits).
//  3. To a server with PIPELINING and CHUNKING a message of ordinary size goes
//     out in one write: XFORWARD, MAIL, each RCPT, BDAT and the body. Otherwise
//     the commands wait for replies where the protocol asks for it, and a long
//     body waits until the server has accepted a recipient. The body is written
//     as it is stored (BDAT), by sendfile where it is a file and the connection
//     is plain TCP, or dot-stuffed (DATA).
//  4. All replies of a group are read, whatever the first ones say, and each is matched with its
//     command; each recipient gets one mail.Result. Only a 2xx to the end of the message counts as
//     delivered. Only a 4xx or 5xx that belongs to a recipient, or to the message, counts as
//     refused. If replies are missing or surplus, results that can't be attributed are temporary
//     failures.
//  5. RSET waits for its reply, so that no message is sent while the server may still hold the
//     recipients of another one.
//
// Replies are untrusted: the length of a line, the number of lines and the size of a reply are
// bounded. Text is cut at 512 bytes and stripped of control characters. After a 421, and after any
// error that leaves the stream out of step, the connection is dead: Err says why, and every later
// Send fails with the same error.
//
// If the connection is lost between the end of the message and its reply, the message may have been
// delivered. That is reported as a temporary failure with the command "DATA end", so that a courier
// doesn't immediately repeat what may have arrived.
//
// A Conn belongs to one goroutine at a time and starts none that outlives a
// call. Between two messages it holds no buffers.
package smtpc
