package queue

import "context"

// Drain makes all waiting legs due now and waits until each has had one attempt, so that nothing is left
// but what is held and what its destination has put off. It returns what is left then, or, with the error
// of ctx, when ctx ends: while a destination is down there is no end to wait for. Messages that are
// accepted meanwhile are waited for too.
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
	q.all(func(e *entry) { // new ones are marked as they come
		if e.state != held {
			q.owe(e)
		}
	})
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

// owe has Drain wait for the next attempt of e. q.mu is held.
func (q *Queue) owe(e *entry) {
	if e.flags&owed == 0 {
		e.flags |= owed
		q.owed++
	}
}

// pay says that e has had its attempt, or can't have it. q.mu is held.
func (q *Queue) pay(e *entry) {
	if e.flags&owed == 0 {
		return
	}
	e.flags &^= owed
	if q.owed--; q.owed == 0 {
		q.paid.Broadcast()
	}
}
