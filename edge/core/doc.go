// Package core is the embedded core: mail storage for `make run`, for tests and
// for small sites. It speaks SMTP and LMTP and keeps a Maildir for each mailbox.
//
// What happens to the data:
//
//  1. wire and go-smtp take the session, as on the edge. XFORWARD tells which
//     message of which node it is: its identity.
//  2. The message streams into a file of its own below mail/.incoming.
//  3. The ledger is asked for each mailbox whether this message of this node was
//     stored there before. Then it is not stored again, and answered with 250,
//     for the edge repeats what it could not learn the end of.
//  4. The file is synced and linked into new/ of each other mailbox, under a name
//     made from the identity. new/ is synced, and for a new mailbox every
//     directory above it.
//  5. The ledger remembers, synced, and the reply goes out: one for the message
//     by SMTP, one for each recipient by LMTP (RFC 2033 section 4.2).
//
// A crash between 4 and 5 is seen in the next round by the name in new/. Only a
// message that a mail reader moved in between is stored twice.
//
// A message without an identity, or with one that is not a node's, is stored
// each time it comes: other servers' queue names come back for other messages.
//
// A fault of the store is never permanent for the message: 451, or 452 where
// there is no room.
package core
