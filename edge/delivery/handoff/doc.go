// Package handoff is the courier to core: it hands accepted mail over to the
// mail storage behind the tunnel, by SMTP or LMTP.
//
// What happens to the data:
//
//  1. Deliver takes a message from the queue and leases a connection: a kept
//     one, the one used last first, or a new one. The addresses of core are
//     tried in their order, each with its own health, so all mail goes to the
//     first that works.
//  2. The message goes over it in one transaction for all its recipients, or
//     as few as core's limits allow, with XFORWARD (or XCLIENT) in front where
//     core offers it: the real client's address, its HELO, and our spool id, by
//     which core knows a message that it has already.
//  3. The connection is kept for the next message, until it has carried
//     MessagesPerConnection, or was idle for IdleTimeout.
//  4. A connection that breaks, or is closed by a 421, before the message was
//     sent whole costs nothing: the message goes again at once over a new
//     connection, once. After the end of the message nobody can tell whether
//     core has it, so it waits for its next time in the queue.
//  5. When no address answers, Deliver returns *queue.Down, and no attempt is
//     counted. Reach then finds out whether one is back, by EHLO and NOOP: a
//     message is never the probe.
//
// Health: an address is left alone when no session can be opened there, or
// after three messages in a row, all of them different, met a connection that
// broke or fell silent before a recipient was accepted. An address that has
// accepted a recipient is up: what breaks after that is the message's doing.
// From its third attempt on such a message has a connection of its own, and
// after twenty of them in a row the address rests for a second. The pause is one second at first, doubles up to
// BackoffMax, and varies by a quarter either way. When it is over one
// connection finds out; meanwhile mail goes to the next address, and comes
// back when that connection stands. What core says about a message never makes
// an address unhealthy, and what it says about a connection never fails a
// message for good.
//
// Probe is apart from all that: it finds out whether packets of full size get
// to each address, over a connection of its own, and decides nothing.
//
// Throttle: at most as many messages are under way to an address as its limit
// says, between 1 and MaxConnections. The limit starts at MaxConnections and is
// then found by additive increase, multiplicative decrease, as TCP does:
//
//   - A message that was answered adds 1/limit, if the limit was in use: one
//     more for each round of messages.
//   - A 421, a 4.3.2 ("not accepting"), a 4.4.5 ("congestion") or an answer that
//     does not come in time halves it, once a second at most, for the answers
//     to what was under way come together.
//   - A connection that is refused while others work sets it to the number of
//     those: core has a limit of its own.
//   - When the mean time of a transaction (messages up to 64 KiB), over a second
//     and eight messages at least, is above half a second and above four times
//     the best such mean, the limit falls by a quarter, but by this rule never
//     below a quarter of MaxConnections: a core that is slow for another reason
//     than our hurry needs many messages at a time. The best mean is forgotten
//     by a twentieth with each measurement, so a core that got slower for good
//     is the new measure after some minutes.
//   - After an address was down it starts at 1 and doubles with each round, up
//     to half of what it was before.
package handoff
