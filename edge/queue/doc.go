// Package queue decides which message is tried when, has a Courier try it, and
// does with the answer what has to be done.
//
// What happens to the data:
//
//  1. New enters what an earlier run of the node has left in the spool: each
//     message gets an entry of less than a hundred octets in the roll, which is
//     in order of arrival, and in the agenda, which is in order of due time.
//  2. Accepted takes a message that was just committed, enters it in the roll
//     and puts it, body and all, in a bounded ring. A free worker takes it from
//     there at once. When the ring is full the body's memory is given back, and
//     the message waits in the agenda like the others.
//  3. Run starts Options.Concurrency workers. A worker takes from the ring and
//     from the agenda what is due, by turns, so that neither a backlog nor new
//     mail can keep the other waiting.
//  4. From the second try on, the try is written to the spool before it is
//     made; the first stands in the zero State. Then the courier is asked.
//  5. Its answer is judged: each recipient is delivered, failed for good, or
//     put off. What is left pending gets its next time from the Schedule and
//     is written to the spool; a message of which nothing is left is removed.
//  6. What the sender has to be told is put in a notification (RFC 3464) that
//     the spool stores in the same piece with the original's new state or
//     removal, and that goes through the same courier as mail of its own.
//
// A first try is made at once. After a failure it is tried again like this:
//
//	0s, 30s, 1m, 2m, 5m, 10m, 20m, 30m, then every 1h until 5 days, each +-20%
//
// and a last time at the end of the five days.
//
// Ages and due times follow a clock that nobody can set: a step of the wall
// clock, in a run or between two, makes no message wait longer than the longest
// wait and has none given up. State.Waited brings the age over a restart.
//
// When the courier says that it is Down, no attempt is counted and no message
// is given to it until the time that it names. Then one message is sent ahead
// as a probe, and the others follow when the courier has answered for it, be it
// well or badly. Messages that get too old meanwhile expire without a try.
//
// All state is under one lock, which is held for some hundred nanoseconds three
// times in the life of a message that goes out at its first try, and never
// while the spool or the courier work. A worker that has taken an entry is the
// only one to change its message until it has put the entry back; an operator's
// wish that comes meanwhile is noted, and done then.
package queue
