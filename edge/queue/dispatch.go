package queue

// This file decides which job a worker gets next. Queue.mu is held for all of it but nextJob.

// nextJob waits for something to do. It reports false when the queue stops.
func (q *Queue) nextJob(w *worker) (job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	w.entry = nil
	for {
		if q.stopping {
			return job{}, false
		}
		if j, ok := q.pick(); ok {
			w.entry = j.entry
			return j, true
		}
		q.arm()
		q.idle++
		q.work.Wait()
		q.idle--
	}
}

// pick returns the next job, if there is one, and wakes another worker if there may be more.
func (q *Queue) pick() (j job, ok bool) {
	if !q.oldTurn {
		j, ok = q.pickExpired()
	}
	if q.oldTurn = ok; !ok {
		j, ok = q.pickFromLanes()
	}
	if !ok {
		j, ok = q.pickExpired()
	}
	if ok && (q.turns.n > 0 && q.attempts < q.options.Concurrency || q.tooOld.n > 0) {
		q.wakeWorker()
	}
	return j, ok
}

// pickFromLanes gives each lane that has something to do its turn.
func (q *Queue) pickFromLanes() (job, bool) {
	for q.attempts < q.options.Concurrency {
		l, ok := q.turns.pop()
		if !ok {
			break
		}
		l.queued = false
		j, ok := q.pull(l)
		q.arrange(l)
		if ok {
			return j, true
		}
	}
	return job{}, false
}

// pull returns the next job of l.
func (q *Queue) pull(l *lane) (job, bool) {
	switch {
	case l.next() == never:
		return job{}, false
	case l.legs == 0:
		if l.paused != nil {
			l.paused.until = q.clock.now()
		}
		q.drop(l)
		return job{}, false
	case l.paused != nil:
		if l.paused.until > q.clock.now() {
			return job{}, false
		}
		l.paused.asking = true
		return job{reach: l}, true
	}
	for {
		j, ok := q.candidate(l)
		if !ok {
			return job{}, false
		}
		e := j.entry
		if l.half > 0 && l.full(e, q.clock.now()) {
			if j.message != nil {
				j.message.Release()
			}
			q.move(e, blocked)
			e.share.blocked.push(e)
			continue
		}
		q.startRunning(e)
		j.schedule = l.schedule
		q.attempts++
		if !q.expiry.has(e) { // it was found too old, and has its last attempt all the same
			q.expiry.add(e)
		}
		return j, true
	}
}

// candidate returns the leg of l whose turn it is: one that was blocked first, then alternately one of
// the ready queue and one of the heap, so that neither a backlog nor new mail keeps the other waiting.
func (q *Queue) candidate(l *lane) (job, bool) {
	for {
		e, ok := l.freed.pop()
		if !ok {
			break
		}
		if e.share.freed--; e.state == blocked {
			return job{entry: e}, true
		}
	}
	top, ok := l.due.top()
	due := ok && top.due <= q.clock.now()
	for !due || !l.turn {
		j, ok := l.ready.pop()
		if !ok {
			break
		}
		q.bodies--
		if j.entry.state == ready {
			l.turn = true
			return j, true
		}
		j.message.Release() // held or deleted meanwhile
	}
	l.turn = false
	if !due {
		return job{}, false
	}
	l.due.remove(top)
	return job{entry: top}, true
}

// pickExpired returns a leg that is too old.
func (q *Queue) pickExpired() (job, bool) {
	for {
		e, ok := q.tooOld.pop()
		if !ok {
			return job{}, false
		}
		switch e.state {
		case ready, waiting, blocked:
			q.withdraw(e)
			q.startRunning(e)
			return job{entry: e, schedule: e.lane.schedule, expired: true}, true
		}
	}
}

// startRunning gives e to a worker.
func (q *Queue) startRunning(e *entry) {
	q.move(e, running)
	e.lane.busy++
	if e.share != nil {
		e.share.busy++
	}
}

// cancelAttempt ends the attempt that is being made for e.
func (q *Queue) cancelAttempt(e *entry) {
	for _, w := range q.workers {
		if w.entry == e {
			w.cancel(errTooOld)
		}
	}
}
