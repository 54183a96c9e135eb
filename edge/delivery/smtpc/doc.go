// Package smtpc is the SMTP (RFC 5321) and LMTP (RFC 2033) client under both
// couriers: the one to core and the one to the world.
//
// What happens to the data:
//
//  1. Dial connects, reads the greeting, says EHLO (HELO to a server that knows
//     no better, LHLO for LMTP), goes over to TLS as the mode demands, forgets
//     all that was said in plaintext, and says EHLO again.
//  2. Send takes one message and the recipients still to be served, and splits
//     them into as few transactions as the server's limits allow. What the
//     server could not take unharmed is refused here, before a byte is sent:
//     a message over its SIZE, declared 8-bit text without 8BITMIME, UTF-8 in
//     the header or a local part without SMTPUTF8, REQUIRETLS without verified
//     TLS. What counts is what the message needs, not what was declared for it:
//     ASCII mail goes to every server, and U-labels go as A-labels where there
//     is no SMTPUTF8. Messages are never rewritten to fit (no downgrade to 7
//     bits).
//  3. To a server with PIPELINING and CHUNKING a message of ordinary size goes
//     out in one write: XFORWARD, MAIL, each RCPT, BDAT and the body. Otherwise
//     the commands wait for replies where the protocol asks for it, and a long
//     body waits until the server has accepted a recipient. The body is written
//     as it is stored (BDAT), by sendfile where it is a file and the connection
//     is plain TCP, or dot-stuffed (DATA).
//  4. All replies of a group are read, whatever the first ones say, and each is
//     matched with the command it answers; each recipient gets one mail.Result.
//     Only a 2xx to the end of the message counts as delivered. Only a 4xx or
//     5xx that belongs to a recipient, or to the message, counts as refused.
//     Where replies are missing, or one too many came, what can't be attributed
//     is a temporary failure.
//  5. RSET waits for its reply, so that no message goes out while the server may
//     still hold the recipients of another.
//
// Replies are hostile: lines, lines in a reply and octets in a reply are
// bounded, text is cut at 512 octets and holds no control characters. After a 421,
// and after anything that leaves the stream unsure, the connection is dead: Err
// says why, and every later Send fails with the same.
//
// A loss between the end of the message and its reply can't be told from a
// delivery. It is reported as a temporary failure with the command "DATA end",
// so that a courier does not try again at once what may have arrived.
//
// A Conn belongs to one goroutine at a time and starts none that outlives a
// call. Between two messages it holds no buffers.
package smtpc
