// Package core is the embedded core: mail storage for `make run`, for tests and for small sites. It
// is an SMTP and LMTP server with a Maildir for each mailbox.
//
// What happens to the data:
//
//  1. go-smtp serves the session. conn, below it, refuses what two servers could read differently,
//     and answers XFORWARD, which gives the identity of the message: its node and its spool id there.
//  2. The message is written to a file of its own below mail/.incoming.
//  3. For each mailbox, the ledger is asked whether this message was already stored there. If so it
//     is not stored again, and the reply is 250: the edge repeats a message when it didn't get the
//     reply.
//  4. The file is synced and linked into new/ of each other mailbox, under a name made from the
//     identity. new/ is synced, and for a new mailbox also every directory above it.
//  5. The ledger records the message, synced, and the reply is sent: one for the message in SMTP,
//     one for each recipient in LMTP (RFC 2033 section 4.2).
//
// After a crash between 4 and 5, the name in new/ shows that the message is already stored. Only a
// message that a mail reader has moved in between is stored twice.
//
// A message without an identity, or with one that is not from a node, is stored each time: other
// servers reuse their queue ids.
//
// A storage failure is never permanent for the message: the reply is 451, or 452 if the disk is
// full.
package core
