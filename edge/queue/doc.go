// Package queue decides which leg of which message is attempted when, has a Courier attempt it, and does
// what follows from the answer.
//
// What happens to the data:
//
//  1. New enters what an earlier run of the node has left in the spool: each leg gets an entry of less
//     than a hundred bytes in the index, which is in order of arrival, in the expiry heap, and in the lane
//     of its destination, in a heap by due time.
//  2. Accepted takes a message that was just committed, enters its legs, and puts the first one that a
//     worker can have at once, body and all, into the ready queue of its lane. When too many bodies are in
//     memory the body is given back, and the leg waits in the heap like the others.
//  3. Run starts workers, up to Options.Concurrency. A worker takes the next lane that has something to do
//     and room for an attempt, and from it a leg of the ready queue and one of the heap alternately, so
//     that neither a backlog nor new mail keeps the other waiting.
//  4. From the second attempt on, the attempt is written to the spool before it is made; the first is
//     implied by the zero State. Then the courier is asked.
//  5. Its answer is judged: each recipient is delivered, failed for good, or put off. What is left pending
//     gets its next time from the Schedule and is written to the spool; a leg of which nothing is left
//     ends, and the message with its last leg.
//  6. What the sender has to hear is put in a notification (RFC 3464) that the spool stores in the same
//     batch with the new state or the end of the original's leg, and that goes through the queue as mail of
//     its own.
//
// # Two clocks
//
// The clock of a message: a first attempt is made at once. After a failure it is attempted again like
// this:
//
//	0s, 30s, 1m, 2m, 5m, 10m, 20m, 30m, then every 1h until 5 days, each +-20%
//
// and a last time at the end of the five days. Half a minute after that it is given up whatever happens
// to its lane: an attempt that does not end is cancelled. Ages and due times follow a clock that nobody
// can set: a step of the wall clock, in a run or between two, makes no leg wait longer than the longest
// wait and has none given up. State.Waited brings the age over a restart.
//
// The clock of a path: when the courier says that a destination is Down, no attempt is counted, and the
// lane is paused until the time that it names. Then the courier is asked whether the destination can be
// reached, without a message, and the legs go when it can.
//
// # Fairness
//
// A lane that is slow, paused or full keeps no other one waiting: it has a limit of its own, and lanes
// take turns. In a lane with ShareByDomain a recipient domain has at most half of the attempts while
// others have mail there; what is due beyond that is blocked until one of its attempts ends.
//
// # The lock
//
// All state is under one lock, which is held for some hundred nanoseconds three times in the life of a
// message that goes out at its first attempt, and never while the spool or the courier work. A worker that
// runs an entry is the only one to change its leg until it has put the entry back; an operator's request
// that comes meanwhile is noted, and done then.
package queue
