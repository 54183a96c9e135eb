package queue

import (
	"context"

	"anymx/edge/mail"
)

// Drain makes all waiting messages due now and waits until each has been tried
// once, so that nothing is left but what is held and what its destination has
// put off. It returns what is left then, or, with the error of ctx, when ctx
// ends: while the courier is down there is no end to wait for. Messages that
// are accepted meanwhile are waited for too.
func (q *Queue) Drain(ctx context.Context) (Stats, error) {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.paid.Broadcast()
	})
	defer stop()
	q.mu.Lock()
	q.drains++
	q.mu.Unlock()
	q.oweAll()
	q.FlushAll()

	q.mu.Lock()
	for q.owed > 0 && ctx.Err() == nil {
		q.paid.Wait()
	}
	var err error
	if q.owed > 0 {
		err = ctx.Err()
	}
	q.drains--
	q.mu.Unlock()
	return q.Stats(), err
}

// oweAll marks all messages that are not held. New ones are marked as they
// come.
func (q *Queue) oweAll() {
	var part []*entry
	var after mail.ID
	for {
		q.mu.Lock()
		part = q.roll.after(after, stride, part[:0])
		for _, e := range part {
			if after = e.id; e.place != held {
				q.owe(e)
			}
		}
		q.mu.Unlock()
		if len(part) == 0 {
			return
		}
	}
}

// owe has Drain wait for the next try of e. q.mu is held.
func (q *Queue) owe(e *entry) {
	if !e.owed {
		e.owed = true
		q.owed++
	}
}

// pay says that e has had its turn, or can't have it. q.mu is held.
func (q *Queue) pay(e *entry) {
	if !e.owed {
		return
	}
	e.owed = false
	if q.owed--; q.owed == 0 {
		q.paid.Broadcast()
	}
}
